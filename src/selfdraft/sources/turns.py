"""The turns of a conversation record, as (role, text), whichever of the usual layouts it has."""

import json
from collections.abc import Mapping
from typing import Any

from selfdraft.sources.json_values import is_turn
from selfdraft.sources.message_trees import best_path, is_tree
from selfdraft.sources.sifting import MISSING, Fields, fields_found

COLUMNS = {
    "turns": ("conversations", "conversation", "messages", "data"),
    "role": ("from", "role"),
    "text": ("value", "content", "text", "parts"),
}
Turns = list[tuple[str, str]]
TOOLS = "tool"
ROLES = (
    dict.fromkeys(("human", "user", "prompter", "usr"), "user")
    | dict.fromkeys(("gpt", "chatgpt", "bing", "bard", "assistant", "model", "bot", "ai", "chatbot"), "assistant")
    | dict.fromkeys(("system", "developer"), "system")
    | dict.fromkeys(("tool", "tools", "function", "observation", "ipython", "environment"), TOOLS)
    | dict.fromkeys(("function_call", "function_response", "tool_call", "tool_response", "tool_result"), TOOLS)
)
CALLS = ("tool_calls", "function_call")  # a message's fields beside its content
PART_TEXTS = (None, "text", "input_text", "output_text")
LONGEST_NAME = 40


def role_of(name: str, own: Mapping[str, str]) -> str | None:
    """user, assistant, system or tool, by the source's `own` names or the usual ones in any case; None if unknown."""
    return own.get(name) or own.get(name.strip()) or ROLES.get(name.strip().lower())


def turns_of(record: Any, fields: Fields, keep_calls: bool = False) -> Turns | str:
    """Turns of a record, empty if it has none; or why it has no such turns (MISSING for no known layout).

    Layouts: a list of {role, text} (ShareGPT, UltraChat, LMSYS), in a record or as the record; the same as
    columns (how `datasets` gives a list of structures), a list of texts that are question and answer in
    turn (early UltraChat), and a tree of messages (OpenAssistant). A text may be a list of parts. A
    message that calls tools has the role of a tool; with `keep_calls` the calls are its text.
    """
    if is_tree(record):
        return best_path(record["prompt"])
    turns = fields.get(record, "turns")
    if isinstance(record, list) and (not record or is_turn(record[0])):
        turns = record
    if isinstance(turns, dict):
        columns = {key: values for key, values in turns.items() if isinstance(values, list)}
        turns = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=False)]
    if not isinstance(turns, list):
        return MISSING
    if turns and all(isinstance(turn, str) for turn in turns):
        return [("assistant" if number % 2 else "user", text) for number, text in enumerate(turns)]
    found = []
    for turn in turns:
        if not isinstance(turn, dict):
            return MISSING
        role, content = fields.get(turn, "role"), fields.get(turn, "text")
        if not isinstance(role, str):
            return MISSING
        text, foreign = text_of(content)
        if foreign:
            return f"content that is no text ({foreign})"
        if calls := [turn[name] for name in CALLS if turn.get(name)]:
            role = role if keep_calls else TOOLS
            text = "\n".join([text] * bool(text) + [json.dumps(call, ensure_ascii=False) for call in calls])
        found.append((role, text))
    return found


def text_of(content: Any) -> tuple[str, str]:
    """The text of a message's content, parts joined by line ends; and the kind of what is no text, if anything is."""
    if content is None:
        return "", ""
    if isinstance(content, str):
        return content, ""
    if isinstance(content, dict):
        inner = content.get("parts") if isinstance(content.get("parts"), list) else [content]
        content = inner if content.get("content_type", "text") == "text" else [content]
    if not isinstance(content, list):
        return "", type(content).__name__
    texts = []
    for part in content:
        text = part.get("text") if isinstance(part, dict) else part
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(text, str) or kind not in PART_TEXTS:
            other = kind if isinstance(kind, str) else part.get("content_type") if isinstance(part, dict) else None
            return "", str(other or type(part).__name__)[:LONGEST_NAME]
        texts.append(text)
    return "\n".join(texts), ""


def turns_found(record: Any, fields: Fields) -> str:
    """What a record holds instead of turns, for an error message."""
    turns = fields.get(record, "turns")
    if isinstance(turns, list) and turns and isinstance(turns[0], dict):
        return f"turns have the fields {', '.join(map(str, turns[0]))}"
    return fields_found(record)
