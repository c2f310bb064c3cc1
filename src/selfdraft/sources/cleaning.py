"""Raw conversation records -> clean conversations, by stated rules, every change and drop counted.

A turn's text: zero-width characters go; an answer saved as web page becomes markdown; backslashes
before `*`, `_` and `#` go (outside code); the sharing page's own words go ("2 / 2", "Share Prompt",
"Copy code"); strings that the target's tokenizer reads as control tokens go.
A conversation: system turns go (they are adverts); answers before the first question go; it ends
before the first turn that is empty, is a gap ("Skipped 1 messages") or repeats the role before, and
ends on an answer. Dropped: no turns, content that is no text, an unknown role, turns of tools, nothing left,
not English, the same text again.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selfdraft.sources.message_trees import joined_messages
from selfdraft.sources.sifting import Fields, Sifted, Texts, sift
from selfdraft.sources.turns import COLUMNS, LONGEST_NAME, TOOLS, role_of, turns_found, turns_of
from selfdraft.sources.web_page import is_web_page, markdown_of

TOOL_TURNS = "tool turns"
UNKNOWN = "unknown role"
MOST_NAMES = 20  # unknown roles that are counted by name
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
    """Alternating turns, user first, assistant last; `id` is unique among the kept ones.

    `turns` is the number that the record had, `begins_with_answer` whether its first one was the model's:
    by these, pieces of one chat are known.
    """

    id: str
    messages: tuple[dict[str, str], ...]
    turns: int = 0
    begins_with_answer: bool = False


def clean_records(
    records: Iterable[Any],
    special_tokens: Sequence[str],
    english_only: bool,
    name: str,
    columns: Mapping[str, str] | None = None,
    roles: Mapping[str, str] | None = None,
) -> Sifted[Conversation]:
    """Apply the rules above; `columns` names the record's fields where they are not among the usual ones.

    `roles` says what the source's own names of roles mean: user, assistant, or system for turns to be
    removed; so the turns of tools can be kept too. Raises StudyError, naming `name`, if no record has
    the fields, or no conversation is left.
    """
    fields = Fields(COLUMNS, columns or {}, "conversations")
    own = dict(roles or {})
    keep_calls = any(role_of(role, {}) == TOOLS for role in own)
    unknown: set[str] = set()
    seen: dict[Texts, tuple[int, bool]] = {}

    def texts_of(record: Any, changed: Counter[str]) -> Texts | str:
        turns = turns_of(record, fields, keep_calls)
        if isinstance(turns, str):
            return turns
        if not turns:
            return "no turns"
        known = [(role_of(role, own), text) for role, text in turns]
        messages = clean_turns(known, special_tokens, changed)
        if stranger := next((role for (role, _), (meant, _) in zip(turns, known, strict=True) if meant is None), None):
            shown = " ".join(stranger.split())[:LONGEST_NAME] or "''"
            if shown in unknown or len(unknown) < MOST_NAMES:
                unknown.add(shown)
                return f"{UNKNOWN} {shown}"
            return UNKNOWN
        if any(role is None for role, _ in known):
            return f"{UNKNOWN} ''"
        if any(role == TOOLS for role, _ in known):
            return TOOL_TURNS
        texts = tuple(message["content"] for message in messages)
        seen.setdefault(texts, (len(turns), next((r for r, _ in known if r != "system"), "") == "assistant"))
        return texts or "no question with an answer"

    def conversation(identity: str, texts: Texts) -> Conversation:
        roles = ("user", "assistant") * (len(texts) // 2)
        messages = tuple({"role": role, "content": text} for role, text in zip(roles, texts, strict=True))
        return Conversation(identity, messages, *seen[texts])

    return sift(
        joined_messages(records),
        texts_of,
        conversation,
        fields,
        english_only,
        name,
        f"{fields.names['turns'][0]}: [{{{fields.names['role'][0]}, {fields.names['text'][0]}}}, …]",
        lambda record: turns_found(record, fields),
    )


def clean_turns(
    turns: list[tuple[str | None, str]], special_tokens: Sequence[str], changed: Counter[str]
) -> list[dict[str, str]]:
    """The longest good beginning of a conversation after its leading answers; empty if there is none."""
    messages: list[dict[str, str]] = []
    for role, raw in turns:
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
