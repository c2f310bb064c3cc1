"""The turns of a conversation record, as (role, text), whichever of the usual layouts it has."""

import json
import re
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from selfdraft.sources.json_values import is_turn
from selfdraft.sources.message_trees import best_path, is_tree
from selfdraft.sources.readable import whole_pairs
from selfdraft.sources.sifting import MISSING, Fields, fields_found

COLUMNS = {
    "turns": ("conversations", "conversation", "messages", "data"),
    "role": ("from", "role"),
    "text": ("value", "content", "text", "parts"),
}
Turns = list[tuple[str, str]]
TOOLS = "tool"
ROLES = (
    dict.fromkeys(("human", "user", "prompter", "usr", "question", "instruction", "input"), "user")
    | dict.fromkeys(("gpt", "chatgpt", "bing", "bard", "assistant", "model", "bot", "ai", "chatbot"), "assistant")
    | dict.fromkeys(("claude", "gemini", "llm", "answer", "response", "output"), "assistant")
    | dict.fromkeys(("system", "developer"), "system")
    | dict.fromkeys(("tool", "tools", "function", "observation", "ipython", "environment"), TOOLS)
    | dict.fromkeys(("function_call", "function_response", "tool_call", "tool_response", "tool_result"), TOOLS)
)
CALLS = ("tool_calls", "function_call")  # a message's fields beside its content
PART_TEXTS = (None, "text", "input_text", "output_text")
PART_KEYS = ("text", "content", "value")
LONGEST_NAME = 40
AROUND = re.compile(r"[\s<|\[(#*]*(.*?)[\s|>\])*:]*", re.DOTALL)  # marks around a role's name: `<|user|>`, `Human:`


def role_of(name: str, own: Mapping[str, str]) -> str | None:
    """user, assistant, system or tool, by the source's `own` names or the usual ones; None if unknown.

    The usual ones in any case and width, and with the marks that prompts write around them.
    """
    if meant := own.get(name) or own.get(name.strip()):
        return meant
    bare = AROUND.fullmatch(unicodedata.normalize("NFKC", name).lower())
    return ROLES.get(bare[1]) if bare else None


def turns_of(record: Any, fields: Fields, keep_calls: bool = False) -> Turns | str:
    """Turns of a record, empty if it has none; or why it has no such turns (MISSING for no known layout).

    Layouts: a list of {role, text} (ShareGPT, UltraChat, LMSYS), in a record, as the record, or as JSON in a
    text; the same as columns (how `datasets` gives a list of structures), a list of texts that are question
    and answer in turn (early UltraChat), or of {human: text, assistant: text}, and a tree of messages
    (OpenAssistant). A text may be a list of parts. A message that calls tools has the role of a tool; with
    `keep_calls` the calls are its text.
    """
    if is_tree(record):
        return best_path(record["prompt"])
    turns = fields.get(record, "turns")
    if isinstance(record, list) and (not record or is_turn(record[0])):
        turns = record
    if isinstance(turns, str) and turns.lstrip().startswith("["):
        with suppress(ValueError, RecursionError):
            turns = whole_pairs(json.loads(turns))
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
        if role is None and (pair := pair_of(turn)):
            found += pair
            continue
        if type(role) is int:
            role = str(role)
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


def pair_of(turn: Mapping[str, Any]) -> Turns:
    """Question and answer of a turn that holds both under the names of who says them; empty for another turn."""
    roles = {name: role_of(name, {}) for name in turn}
    said = [(name, turn[name]) for role in ("user", "assistant") for name in turn if roles[name] == role]
    whole = len(said) == 2 and {roles[name] for name, _ in said} == {"user", "assistant"}
    return said if whole and all(isinstance(text, str) for _, text in said) else []


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
        if part is None:
            continue
        text = next((part[key] for key in PART_KEYS if key in part), None) if isinstance(part, dict) else part
        if isinstance(text, dict):
            text = text.get("value")
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
