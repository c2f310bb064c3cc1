"""A text that is no chat -> the same text without what a tokenizer would take for control."""

from collections import Counter
from collections.abc import Sequence

from selfdraft.sources.cleaning import ZERO_WIDTH, without_control_strings


def clean_plain(text: str, special_tokens: Sequence[str], changed: Counter[str]) -> str:
    """`text` with plain line ends, without zero-width characters, control strings and space around it.

    Markup, backslashes and code stay as they are. What changed is counted.
    """
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    visible = ZERO_WIDTH.sub("", plain)
    harmless = without_control_strings(visible, special_tokens)
    changed.update(["zero-width characters removed"] * (visible != plain))
    changed.update(["control strings removed"] * (harmless != visible))
    return harmless.strip()
