"""Lists of records inside the one object of a file: what they are called, and those of an object that is cut."""

import json
from typing import Any

# What a list of records is called in the one object of a file.
WRAPPERS = frozenset(
    (
        *("data", "dataset", "rows", "records", "items", "examples", "samples", "instances", "entries", "results"),
        *("conversations", "conversation", "chats", "dialogs", "dialogues", "messages", "threads", "sessions"),
        *("documents", "articles", "texts", "questions", "prompts"),
        *("train", "training", "validation", "valid", "dev", "test"),
    )
)
DECODER = json.JSONDecoder(strict=False)
SPACE = " \t\r\n"


def lists_of_cut(text: str) -> tuple[list[list[Any]], int | None]:
    """Of the text of an object that is no whole JSON: its whole lists of records, and where the broken one begins.

    The place is that of its `[`, None if the object breaks elsewhere than in a list of records' usual name.
    """
    whole: list[list[Any]] = []
    position = text.index("{") + 1
    while True:
        position = behind(text, position, ",")
        try:
            key, position = DECODER.raw_decode(text, position)
        except (ValueError, RecursionError):
            return whole, None
        position = behind(text, position, ":")
        named = isinstance(key, str) and key.lower() in WRAPPERS
        try:
            value, position = DECODER.raw_decode(text, position)
        except (ValueError, RecursionError):
            return whole, position if named and text[position : position + 1] == "[" else None
        if named and isinstance(value, list):
            whole.append(value)


def behind(text: str, position: int, mark: str) -> int:
    """The next position that holds neither space nor `mark`."""
    while position < len(text) and text[position] in SPACE + mark:
        position += 1
    return position
