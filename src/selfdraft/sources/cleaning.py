"""Raw conversation records -> clean conversations, by stated rules, every change and drop counted.

A turn's text: zero-width characters go; an answer saved as web page becomes markdown; backslashes
before `*`, `_` and `#` go (outside code); the sharing page's own words go ("2 / 2", "Share Prompt",
"Copy code"); strings that the target's tokenizer reads as control tokens go.
A conversation: system turns go (they are adverts); answers before the first question go; it ends
before the first turn that is empty, is a gap ("Skipped 1 messages") or repeats the role before, and
ends on an answer. Dropped: no turns, an unknown role, nothing left, not English, the same text again.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from selfdraft.errors import StudyError
from selfdraft.sources.english import is_english
from selfdraft.sources.web_page import is_web_page, markdown_of

TURNS = ("conversations", "conversation", "messages")
ROLE = ("from", "role")
TEXT = ("value", "content", "text")
ROLES = {"human": "user", "user": "user", "system": "system"} | dict.fromkeys(
    ("gpt", "chatgpt", "bing", "bard", "assistant", "model"), "assistant"
)
# Joiners (U+200C, U+200D) stay: emoji and some scripts need them.
ZERO_WIDTH = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\ufeff\x00-\x08\x0b\x0c\x0e-\x1f]")
ESCAPED = re.compile(r"(```.*?(?:```|\Z)|`[^`\n]*`)|\\([*_#])", re.DOTALL)
PAGER = re.compile(r"\s*(?<![\d/] )(?<!\d)(\d{1,2}) / (\d{1,2})\Z")
SHARE_BUTTON = re.compile(r"\s*Share Prompt\Z")
COPY_BUTTON = re.compile(r"^[ \t]*Copy code[ \t]*\n", re.MULTILINE)
CONTROL = re.compile(r"<\|[^|<>\s]{1,40}\|>")
GAP = re.compile(r"Skipped \d+ messages?")


@dataclass(frozen=True)
class Conversation:
    """Alternating turns, user first, assistant last; `id` is unique among the kept ones."""

    id: str
    messages: tuple[dict[str, str], ...]


@dataclass
class Cleaned:
    """`read` records = kept conversations + dropped ones; `changed` counts turns, or conversations."""

    conversations: list[Conversation] = field(default_factory=list)
    read: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)


def clean_records(records: Iterable[Any], special_tokens: Sequence[str], english_only: bool, name: str) -> Cleaned:
    """Apply the rules above.

    Raises StudyError, naming `name`, if no record has the fields, or no conversation is left.
    """
    cleaned = Cleaned()
    seen: set[tuple[str, ...]] = set()
    ids: Counter[str] = Counter()
    first_record: Any = None
    for number, record in enumerate(records):
        cleaned.read += 1
        first_record = record if number == 0 else first_record
        turns = turns_of(record)
        messages = clean_turns(turns, special_tokens, cleaned.changed) if turns else []
        texts = tuple(message["content"] for message in messages)
        if turns is None:
            cleaned.dropped["missing fields"] += 1
        elif not turns:
            cleaned.dropped["no turns"] += 1
        elif any(role not in ROLES for role, _ in turns):
            cleaned.dropped["unknown role"] += 1
        elif not messages:
            cleaned.dropped["no question with an answer"] += 1
        elif english_only and not is_english(" ".join(texts)):
            cleaned.dropped["not English"] += 1
        elif texts in seen:
            cleaned.dropped["duplicate"] += 1
        else:
            seen.add(texts)
            identity = str(record.get("id", f"record{number}"))
            ids[identity] += 1
            again = f"#{ids[identity]}" if ids[identity] > 1 else ""
            cleaned.conversations.append(Conversation(identity + again, tuple(messages)))
    if cleaned.dropped["missing fields"] == cleaned.read:
        raise StudyError(f"{name}: {fields_found(first_record)}, expected conversations: [{{from, value}}, …]")
    if not cleaned.conversations:
        reasons = ", ".join(f"{count} {reason}" for reason, count in cleaned.dropped.most_common())
        raise StudyError(f"{name}: empty after cleaning: {cleaned.read} conversations read, {reasons}")
    return cleaned


def fields_found(record: Any) -> str:
    """What a record holds instead of a conversation, for an error message."""
    if not isinstance(record, dict):
        return f"records are of type {type(record).__name__}"
    turns = next((record[key] for key in TURNS if key in record), None)
    if isinstance(turns, list) and turns and isinstance(turns[0], dict):
        return f"turns have the fields {', '.join(map(str, turns[0]))}"
    return f"records have the fields {', '.join(map(str, record)) or 'none'}"


def turns_of(record: Any) -> list[tuple[str, str]] | None:
    """(role, text) of each turn of a record as it stands, or None if the fields are not there."""
    turns = next((record[key] for key in TURNS if key in record), None) if isinstance(record, dict) else None
    if isinstance(turns, dict):  # columns, as the datasets library gives a sequence of turns
        columns = {key: values for key, values in turns.items() if isinstance(values, list)}
        turns = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=False)]
    if not isinstance(turns, list):
        return None
    found = []
    for turn in turns:
        if not isinstance(turn, dict):
            return None
        role = next((turn[key] for key in ROLE if key in turn), None)
        text = next((turn[key] for key in TEXT if key in turn), None)
        if not isinstance(role, str) or not (text is None or isinstance(text, str)):
            return None
        found.append((role, text or ""))
    return found


def clean_turns(
    turns: list[tuple[str, str]], special_tokens: Sequence[str], changed: Counter[str]
) -> list[dict[str, str]]:
    """The longest good beginning of a conversation after its leading answers; empty if there is none."""
    messages: list[dict[str, str]] = []
    for name, raw in turns:
        role = ROLES.get(name)
        if role == "system":
            changed["system turn removed"] += 1
            continue
        if role == "assistant" and not messages:
            changed["leading answer removed"] += 1
            continue
        text = clean_text(raw, role or "", special_tokens, changed)
        if not text or GAP.fullmatch(text):
            changed["cut at an empty turn"] += 1
            break
        if role == (messages[-1]["role"] if messages else "assistant"):
            changed["cut at a repeated role"] += 1
            break
        messages.append({"role": role or "", "content": text})
    if messages and messages[-1]["role"] == "user":
        changed["trailing question removed"] += 1
        messages.pop()
    return messages


def clean_text(text: str, role: str, special_tokens: Sequence[str], changed: Counter[str]) -> str:
    """One turn's text after the rules above; what a rule changed is counted."""

    def counted(rule: str, after: str) -> str:
        if after != before:
            changed[rule] += 1
        return after

    before = text.replace("\r\n", "\n")
    before = counted("zero-width characters removed", ZERO_WIDTH.sub("", before))
    if role == "assistant" and is_web_page(before):
        before = counted("web page to markdown", markdown_of(before))
    if "\\" in before:
        unescaped = ESCAPED.sub(lambda found: found[1] or found[2], before)
        before = counted("backslash escapes removed", unescaped)
    before = before.strip()
    if role == "user":
        before = counted("sharing page's words removed", without_page_words(before))
    return counted("control strings removed", without_control_strings(before, special_tokens)).strip()


def without_page_words(text: str) -> str:
    """A question without the pager ("2 / 2") and the buttons' labels that the sharing page put there."""
    text = SHARE_BUTTON.sub("", COPY_BUTTON.sub("", text) if "Copy code" in text else text)
    pager = PAGER.search(text, max(0, len(text) - 20))
    return text[: pager.start()] if pager and 1 <= int(pager[1]) <= int(pager[2]) else text


def without_control_strings(text: str, special_tokens: Sequence[str]) -> str:
    """`text` without strings that a tokenizer would read as control tokens, also none that arise so."""
    while True:
        before = text
        text = CONTROL.sub("", text) if "<|" in text else text
        for token in special_tokens:
            if token in text:
                text = text.replace(token, "")
        if text == before:
            return text
