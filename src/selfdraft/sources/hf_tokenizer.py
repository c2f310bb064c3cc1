"""The tokenizer of a Hugging Face folder as transformers reads it, as one tokenizer.json and few settings.

tokenizer.json alone is not the tokenizer: tokens stand in tokenizer_config.json and added_tokens.json too,
special ones in special_tokens_map.json, and what was saved of truncation or padding is not to be followed.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from selfdraft.errors import StudyError
from selfdraft.files import read_json
from selfdraft.sources.chat import compile_template, read_tokenizer
from selfdraft.sources.plain_model import check_single_template
from selfdraft.sources.reference import load_tokenizer

SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


@dataclass(frozen=True)
class ReadTokenizer:
    """tokenizer.json's content, the chat template, and the texts of the special tokens by name."""

    tokenizer_json: str
    template: str
    special: dict[str, str]


def read_hf_tokenizer(folder: Path) -> ReadTokenizer:
    """Read the tokenizer. Raises StudyError naming a file that is missing, broken or not taken by transformers."""
    read_tokenizer(folder / "tokenizer.json")
    for name in SETTINGS:
        found = read_json(folder / name) if (folder / name).is_file() else {}
        if not isinstance(found, dict):
            raise StudyError(f"{folder / name}: found a {type(found).__name__}, a JSON object is right")
        if "chat_template" in found:
            check_single_template(found["chat_template"], folder / name)
        if "auto_map" in found:
            raise StudyError(f"{folder / name}: auto_map: the tokenizer needs code of its own, and none is run")
    try:
        stock = load_tokenizer(folder)
        template = check_single_template(stock.chat_template, folder)
        special = {name: str(text) for name, text in stock.special_tokens_map.items()}
        compile_template(template, f"{folder}: chat template")
        return ReadTokenizer(plain_json(stock), template, special)
    except (ValueError, KeyError, TypeError, AttributeError, OSError, ImportError) as error:
        said = str(error).strip().splitlines()
        raise StudyError(
            f"{folder / 'tokenizer_config.json'}: transformers cannot read the tokenizer "
            f"({said[0] if said else type(error).__name__})"
        ) from None


def plain_json(stock: Any) -> str:
    """tokenizer.json of a transformers tokenizer, without truncation and padding."""
    tokenizer = Tokenizer.from_str(stock.backend_tokenizer.to_str())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return str(tokenizer.to_str(pretty=True))
