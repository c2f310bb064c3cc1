"""Conversation records out of JSON, also out of a file that was cut in the middle."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfdraft.errors import StudyError

BETWEEN = re.compile(r"[\s,]*")
DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Records:
    """`records` in file order; `lost_characters` of the text could not be read as records, for `reason`."""

    records: list[Any]
    lost_characters: int = 0
    reason: str = ""


def read_records(path: Path) -> Records:
    """Read a JSON list of records, or JSON lines.

    A list that breaks off keeps what is complete and counts the rest; so do broken lines. Raises
    StudyError if the file is not JSON at all or has no complete record.
    """
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise StudyError(f"{path}: {error.strerror}") from None
    start = BETWEEN.match(text)
    first = start.end() if start else 0
    if text[first : first + 1] == "[":
        found = read_list(text, first + 1)
    elif text[first : first + 1] == "{":
        found = read_lines(text)
    else:
        seen = repr(text[first : first + 20]) if text[first:] else "an empty file"
        raise StudyError(f"{path}: not JSON: found {seen}, expected a list of conversations or one in each line")
    if not found.records:
        raise StudyError(f"{path}: no complete record ({found.reason or 'the list is empty'})")
    return found


def read_list(text: str, position: int) -> Records:
    """Records of a JSON list from `position`, just behind its bracket, to its end or to where it breaks."""
    records: list[Any] = []
    while True:
        position = end_of_gap(text, position)
        if text[position : position + 1] == "]":
            rest = text[position + 1 :].strip()
            return Records(records, len(rest), f"text after the list: {rest[:20]!r}" if rest else "")
        try:
            record, position = DECODER.raw_decode(text, position)
        except json.JSONDecodeError as error:
            lost = len(text) - position
            reason = f"{error.msg} (character {error.pos})" if lost else "the list is not closed"
            return Records(records, lost, f"broken off after record {len(records)}: {reason}")
        records.append(record)


def end_of_gap(text: str, position: int) -> int:
    """The next position that holds neither space nor comma."""
    gap = BETWEEN.match(text, position)
    return gap.end() if gap else position


def read_lines(text: str) -> Records:
    """Records of JSON lines; lines that are not JSON are counted and left out."""
    records: list[Any] = []
    lost, broken = 0, 0
    for line in text.split("\n"):
        if not line.strip():
            continue
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            lost, broken = lost + len(line), broken + 1
    return Records(records, lost, f"{broken} broken lines" if broken else "")


def read_hub_rows(repo: str, **options: Any) -> Records:
    """Rows of a dataset through the `datasets` library: a repository on the hub or a local folder.

    `options` as for `datasets.load_dataset` (name, split, revision, data_files, token, cache_dir).
    Raises StudyError with the library's first line if it cannot load it.
    """
    import datasets

    datasets.disable_progress_bars()
    try:
        rows: Iterable[Any] = datasets.load_dataset(repo, **options)
        return Records(list(rows))
    except Exception as error:  # the library raises dozens of kinds
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StudyError(f"{repo}: datasets cannot load it ({said})") from None
