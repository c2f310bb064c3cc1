"""A file or folder of data in a few lines: what it is taken for, what is kept of it, and a sample with its labels."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from selfdraft.errors import StudyError
from selfdraft.sources.chat import ChatTokenizer
from selfdraft.sources.cleaning import Conversation, clean_records
from selfdraft.sources.data_files import read_source
from selfdraft.sources.labelled import coloured, labelled_chat
from selfdraft.sources.shapes import prompts, summaries, text
from selfdraft.sources.shapes.conversations import Conversations
from selfdraft.sources.shapes.shape import Making
from selfdraft.sources.sifting import Fields
from selfdraft.sources.turns import COLUMNS, turns_of

LOOKED_AT = 20_000  # records
SHOWN = 1_500  # characters of the sample
LONGEST = 2**20  # tokens: a survey cuts nothing


def survey_data(path: Path, chat: ChatTokenizer | None = None) -> Iterator[str]:
    """Lines that say the shape, the fields, who speaks, what is dropped and why, and a sample, labels in green.

    A conversation is shown as the tokenizer `chat` of a target formats it; without one its colours say which text
    the labels are, before tokens. Raises StudyError as the data stage does.
    """
    with TemporaryDirectory() as cache:
        reading = read_source({"kind": "path", "path": str(path)}, cache)
        records = list(islice(reading.records, LOOKED_AT))
        more = next(reading.records, None) is not None
    shape = shape_of(records)
    rest = " looked at, and more" if more else ""
    yield f"{path}: data of shape {shape or 'unknown'}: {len(records):,} records{rest}"
    fields = Counter(str(key) for record in records if isinstance(record, dict) for key in record)
    yield "fields: " + (", ".join(f"{name} ({count:,})" for name, count in fields.most_common(12)) or "none")
    if reading.losses.reason:
        yield f"not read: {reading.losses.characters:,} characters: {reading.losses.reason}"
    for reason, count in reading.losses.changed.items():
        yield f"{reason}: {count:,}"
    if shape == "conversations":
        yield from conversations(records, str(path), chat)
    elif shape:
        sample = next(value for record in records if (value := text_of(record, shape)))
        yield f"for the config: shape: {shape}"
        yield f"sample ({'a question, without labels' if shape == 'prompts' else 'labels'}):"
        yield coloured(sample[:SHOWN], shape != "prompts")
    else:
        yield "columns: {COLUMN: NAME} in the config says where turns, text, document and summary, or prompt are"


def shape_of(records: list[Any]) -> str | None:
    """The first shape that any record has the columns of."""
    turns = Fields(COLUMNS, {}, "conversations")
    for record in records:
        said = turns_of(record, turns)
        if isinstance(said, list) and said:
            return "conversations"
        if shape := next((shape for shape in ("summaries", "text", "prompts") if text_of(record, shape)), None):
            return shape
    return None


def text_of(record: Any, shape: str) -> str | None:
    """What a record of that shape shows: its text, or its document and summary, or its question."""
    if shape == "summaries":
        both = Fields(summaries.COLUMNS, {}, shape)
        document, summary = both.text(record, "document"), both.text(record, "summary")
        return f"{summary}\n(of) {document}" if document and summary else None
    if shape == "text":
        return Fields(text.COLUMNS, {}, shape).text(record, "text")
    return prompts.first_turn(Fields(prompts.COLUMNS, {}, shape).get(record, "prompt"))


def conversations(records: list[Any], name: str, chat: ChatTokenizer | None) -> Iterator[str]:
    """Who speaks, what is dropped, and one conversation."""
    fields = Fields(COLUMNS, {}, "conversations")
    found = (turns_of(record, fields) for record in records)
    roles = Counter(role for turns in found if isinstance(turns, list) for role, _ in turns)
    yield "roles: " + ", ".join(f"{role} ({count:,})" for role, count in roles.most_common(12))
    try:
        if chat is None:
            sifted = clean_records(records, [], False, name)
        else:
            sifted = Conversations(Making(chat, LONGEST, english_only=False)).clean(records, name)
    except StudyError as error:
        yield str(error)
        return
    dropped = ", ".join(f"{count:,} {reason}" for reason, count in sifted.dropped.most_common()) or "none"
    yield f"kept: {len(sifted.items):,} (any language); dropped: {dropped}"
    for reason, count in sifted.changed.most_common():
        yield f"changed: {reason}: {count:,}"
    yield "sample (labels: the assistant's):"
    yield from sample_of(sifted.items[0]) if chat is None else [labelled_chat(chat, sifted.items[0].messages)]


def sample_of(item: Conversation) -> Iterator[str]:
    """Each turn of a conversation, the labels coloured."""
    for message in item.messages:
        answer = message["role"] == "assistant"
        yield f"{message['role']}: {coloured(message['content'][:SHOWN], answer)}"
