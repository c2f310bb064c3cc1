"""The tokenizer and chat template of a plain target folder, without transformers."""

import json
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Encoding, Tokenizer

from selfdraft.errors import StudyError
from selfdraft.files import read_json

Message = dict[str, str]
TEMPLATE_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token")


class ChatTokenizer:
    """Text to token ids and back, and messages to text, for one target.

    `eos_ids` are the tokens that end an answer; `special_tokens` the strings that the tokenizer
    reads as one control token wherever they stand.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: str,
        template_tokens: dict[str, str],
        eos_ids: list[int],
        name: str = "chat template",
        today: datetime | None = None,
    ) -> None:
        """`today` fixes the date that some templates print; None means the day of the call."""
        self.tokenizer = tokenizer
        self.eos_ids = eos_ids
        self.name = name
        added = tokenizer.get_added_tokens_decoder().values()
        self.special_tokens = sorted(token.content for token in added if token.special)
        self._tokens = template_tokens
        self._template = compile_template(template, name, today)

    @cached_property
    def lead(self) -> list[int]:
        """Tokens that the tokenizer itself puts before a text without template: Llama 3's, and none of SmolLM2."""
        plain, whole = self.encode("a"), list(self.tokenizer.encode("a", add_special_tokens=True).ids)
        begins = [start for start in range(len(whole)) if whole[start : start + len(plain)] == plain]
        return whole[: begins[0]] if begins else []

    @classmethod
    def from_folder(cls, folder: str | Path, today: datetime | None = None) -> "ChatTokenizer":
        """Read tokenizer.json, chat_template.jinja and the two small configs of a target folder.

        Raises StudyError naming the file that is missing or broken.
        """
        folder = Path(folder)
        tokenizer = read_tokenizer(folder / "tokenizer.json")
        template_path = folder / "chat_template.jinja"
        if not template_path.is_file():
            raise StudyError(
                f"{template_path}: file not found; the tokenizer has no chat template; "
                "the study needs a chat (instruct) model"
            )
        settings = read_json(folder / "tokenizer_config.json")
        tokens = {name: token_text(settings[name]) for name in TEMPLATE_TOKENS if settings.get(name)}
        eos = end_of_answer(folder, tokenizer, tokens.get("eos_token"))
        template = template_path.read_text(encoding="utf-8")
        return cls(tokenizer, template, tokens, eos, name=str(template_path), today=today)

    def encode(self, text: str) -> list[int]:
        """Token ids of `text` as it stands: nothing is added, the template already names its tokens."""
        return list(self.encoding(text).ids)

    def encoding(self, text: str) -> Encoding:
        """Like `encode`, with `.offsets`: for each token its first and last character in `text`."""
        return self.tokenizer.encode(text, add_special_tokens=False)

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        """Text of token ids; control tokens are written out unless skipped."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens))

    def render(self, messages: list[Message], add_generation_prompt: bool = False) -> str:
        """Text of a conversation as the target saw it in training.

        Byte-equal to transformers' `apply_chat_template(messages, tokenize=False)`. With
        `add_generation_prompt` the text ends where the answer would begin. Raises StudyError with
        the template's own words when it refuses the messages.
        """
        try:
            return self._template.render(
                messages=messages,
                tools=None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **self._tokens,
            )
        except jinja2.TemplateError as error:
            raise StudyError(f"{self.name}: refuses these messages: {error}") from None


def compile_template(template: str, name: str, today: datetime | None = None) -> jinja2.Template:
    """Compile a chat template in a sandbox with the helpers that transformers gives it."""

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    def to_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, **options)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: (today or datetime.now()).strftime(form)
    try:
        return environment.from_string(template)
    except jinja2.TemplateSyntaxError as error:
        raise StudyError(f"{name}: line {error.lineno}: not a valid template ({error.message})") from None


def read_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer.json. Raises StudyError if it is missing or broken."""
    if not path.is_file():
        raise StudyError(f"{path}: file not found; a target folder needs a tokenizer.json")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises plain Exception
        raise StudyError(f"{path}: not a tokenizer ({error})") from None


def token_text(value: Any) -> str:
    """A token as tokenizer_config.json may hold it: a string, or an object with its `content`."""
    return str(value["content"]) if isinstance(value, dict) else str(value)


def end_of_answer(folder: Path, tokenizer: Tokenizer, eos_token: str | None) -> list[int]:
    """Ids that end an answer: of generation_config.json, else config.json, else the tokenizer's eos.

    Raises StudyError if none of them names one.
    """
    for name in ("generation_config.json", "config.json"):
        path = folder / name
        value = read_json(path).get("eos_token_id") if path.is_file() else None
        if value is not None:
            return [value] if isinstance(value, int) else list(value)
    found = tokenizer.token_to_id(eos_token) if eos_token else None
    if found is None:
        raise StudyError(f"{folder}/generation_config.json: eos_token_id: nothing found, expected a token id")
    return [found]
