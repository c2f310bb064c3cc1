"""The turns of a conversation record, as (role, text), whichever of the usual layouts it has."""

from typing import Any

from selfdraft.sources.message_trees import best_path, is_tree
from selfdraft.sources.sifting import Fields, fields_found

COLUMNS = {
    "turns": ("conversations", "conversation", "messages", "data"),
    "role": ("from", "role"),
    "text": ("value", "content", "text"),
}
Turns = list[tuple[str, str]]


def turns_of(record: Any, fields: Fields) -> Turns | None:
    """Turns of a record, empty if it has none; None if it has no conversation of a known layout.

    Layouts: a list of {role, text} (ShareGPT, UltraChat, LMSYS), the same as columns (how `datasets`
    gives a list of structures), a list of texts that are question and answer in turn (early
    UltraChat), and a tree of messages (OpenAssistant).
    """
    if is_tree(record):
        return best_path(record["prompt"])
    turns = fields.get(record, "turns")
    if isinstance(turns, dict):
        columns = {key: values for key, values in turns.items() if isinstance(values, list)}
        turns = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=False)]
    if not isinstance(turns, list):
        return None
    if turns and all(isinstance(turn, str) for turn in turns):
        return [("assistant" if number % 2 else "user", text) for number, text in enumerate(turns)]
    found = []
    for turn in turns:
        if not isinstance(turn, dict):
            return None
        role, text = fields.get(turn, "role"), fields.get(turn, "text")
        if not isinstance(role, str) or not (text is None or isinstance(text, str)):
            return None
        found.append((role, text or ""))
    return found


def turns_found(record: Any, fields: Fields) -> str:
    """What a record holds instead of turns, for an error message."""
    turns = fields.get(record, "turns")
    if isinstance(turns, list) and turns and isinstance(turns[0], dict):
        return f"turns have the fields {', '.join(map(str, turns[0]))}"
    return fields_found(record)
