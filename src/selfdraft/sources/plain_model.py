"""What a target folder holds, before it is written: what every reader of models makes."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from selfdraft.errors import StudyError


@dataclass
class PlainModel:
    """Config, weights and tokenizer of one model, and transformers' own reading of the same files to compare with.

    `stock_model()` is transformers' model in bf16; `stock_tokenizer()` its tokenizer, None where its reading
    of the file is known to be wrong (a GGUF's text splitter).
    """

    config: dict[str, Any]
    state: dict[str, torch.Tensor]
    tokenizer_json: str
    template: str
    tokenizer_config: dict[str, Any]
    generation_config: dict[str, Any]
    stock_model: Callable[[], Any]
    stock_tokenizer: Callable[[], Any] | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    weights: str = ""  # what they were quantised to, if they were


def check_single_template(template: Any, where: Path) -> str:
    """The chat template out of what a tokenizer may hold: text, or several by name (as a list or a mapping).

    Of several it is the one named `default`, or the only one. Raises StudyError if there is none.
    """
    if isinstance(template, list):
        for entry in template:
            if not isinstance(entry, dict) or not {"name", "template"} <= set(entry):
                raise StudyError(f"{where}: chat_template: found {entry!r:.80}, expected {{name, template}}")
        template = {entry["name"]: entry["template"] for entry in template}
    if isinstance(template, dict) and template:
        if "default" not in template and len(template) > 1:
            raise StudyError(
                f"{where}: chat_template: found templates {', '.join(map(str, template))}, expected one named default"
            )
        template = template.get("default", next(iter(template.values())))
    if not isinstance(template, str) or not re.search(r"\S", template):
        raise StudyError(f"{where}: the tokenizer has no chat template; the study needs a chat (instruct) model")
    return template
