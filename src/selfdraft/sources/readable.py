"""Text that UTF-8 can write: JSON escapes may hold half of a surrogate pair, file names bytes of another encoding."""

import re
from typing import Any

HALF = re.compile("[\ud800-\udfff]")
UNDECODED = re.compile("[\udc80-\udcff]+")  # what Python makes of a name's bytes that are not UTF-8
REPLACEMENT = "\ufffd"


def whole_pairs(value: Any) -> Any:
    """A JSON value whose texts and keys have U+FFFD where half of a surrogate pair stood."""
    if isinstance(value, str):
        return HALF.sub(REPLACEMENT, value)
    if isinstance(value, list):
        return [whole_pairs(inner) for inner in value]
    if isinstance(value, dict):
        return {whole_pairs(key): whole_pairs(inner) for key, inner in value.items()}
    return value


def readable_name(name: str) -> str:
    """A path or file name as text: its bytes that are not UTF-8 are read as Windows-1252."""

    def in_windows(found: re.Match[str]) -> str:
        return bytes(ord(character) - 0xDC00 for character in found[0]).decode("cp1252", errors="replace")

    return HALF.sub(REPLACEMENT, UNDECODED.sub(in_windows, name))
