"""Records out of data files as a stream: JSON (also cut in the middle), JSON lines, Parquet, plain text."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from selfdraft.errors import StudyError
from selfdraft.sources.losses import Losses
from selfdraft.sources.packed_files import open_bytes, open_text, plain_suffix, unpack_whole

BETWEEN = re.compile(r"[\s,]*")
DECODER = json.JSONDecoder()


def records_of(path: Path, identity: str, losses: Losses) -> Iterator[Any]:
    """The records of one file, by its kind; a plain text is one record {id, text} with `identity`.

    What cannot be read is noted in `losses` by the time the stream ends. Raises StudyError for a file
    of another kind, one that is not what its name says, or one without a single record.
    """
    kind = plain_suffix(path)
    if kind in (".json", ".jsonl"):
        return json_records(path, losses)
    if kind == ".parquet":
        return parquet_records(path, losses)
    if kind == ".txt":
        return iter([{"id": identity, "text": plain_text(path, losses)}])
    raise StudyError(f"{path}: expected a .json, .jsonl, .parquet or .txt file, plain or packed as .gz or .zst")


def json_records(path: Path, losses: Losses) -> Iterator[Any]:
    """Records of a JSON list, or of JSON lines, which are read one at a time.

    A list that breaks off keeps what is complete and counts the rest; so do broken lines. Raises
    StudyError if the file is not JSON at all or has no complete record.
    """
    with open_text(path, losses) as stream:
        head = stream.read(1)
        while head and not head.strip(", \t\r\n"):
            more = stream.read(1)
            if not more:
                break
            head += more
        first = head[-1:]
        if first == "[":
            found = list_records(head + stream.read(), len(head), losses)
        elif first == "{":
            found = line_records(head, stream, losses)
        else:
            seen = repr((head.lstrip() + stream.read(20))[:20]) if head.strip() else "an empty file"
            raise StudyError(f"{path}: not JSON: found {seen}, expected a list of records or one in each line")
        count = 0
        for record in found:
            count += 1
            yield record
        if not count:
            raise StudyError(f"{path}: no complete record ({losses.reason or 'the list is empty'})")


def list_records(text: str, position: int, losses: Losses) -> Iterator[Any]:
    """Records of a JSON list from `position`, just behind its bracket, to its end or to where it breaks."""
    count = 0
    while True:
        position = end_of_gap(text, position)
        if text[position : position + 1] == "]":
            if rest := text[position + 1 :].strip():
                losses.add(f"text after the list: {rest[:20]!r}", len(rest))
            return
        try:
            record, position = DECODER.raw_decode(text, position)
        except json.JSONDecodeError as error:
            lost = len(text) - position
            reason = f"{error.msg} (character {error.pos})" if lost else "the list is not closed"
            losses.add(f"broken off after record {count}: {reason}", lost)
            return
        count += 1
        yield record


def end_of_gap(text: str, position: int) -> int:
    """The next position that holds neither space nor comma."""
    gap = BETWEEN.match(text, position)
    return gap.end() if gap else position


def line_records(head: str, stream: IO[str], losses: Losses) -> Iterator[Any]:
    """Records of JSON lines, of which `head` was read before; lines that are not JSON are counted and left out."""
    lost, broken = 0, 0
    line = head + stream.readline()
    while line:
        text = line.removesuffix("\n")
        if text.strip():
            try:
                yield json.loads(text)
            except json.JSONDecodeError:
                lost, broken = lost + len(text), broken + 1
        line = stream.readline()
    if broken:
        losses.add(f"{broken} broken lines", lost)


def parquet_records(path: Path, losses: Losses) -> Iterator[Any]:
    """Rows of a Parquet file, one row group in memory at a time.

    Raises StudyError for a file that was cut: its table of contents stands at the end, so nothing in
    it can be read.
    """
    import pyarrow
    from pyarrow.parquet import ParquetFile

    packed = path.suffix != ".parquet"
    with io.BytesIO(unpack_whole(path, losses)) if packed else open_bytes(path, losses) as source:
        try:
            file = ParquetFile(source)
            for group in range(file.num_row_groups):
                yield from file.read_row_group(group).to_pylist()
        except (pyarrow.ArrowException, OSError) as error:
            said = losses.reason or " ".join(str(error).split())
            raise StudyError(f"{path}: not a whole Parquet file ({said})") from None


def plain_text(path: Path, losses: Losses) -> str:
    """A text file's content; one that is not UTF-8 is read as Windows-1252, and counted."""
    content = unpack_whole(path, losses)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        losses.changed["read as Windows-1252, not being UTF-8"] += 1
        return content.decode("cp1252", errors="replace")


def hub_rows(repo: str, **options: Any) -> Iterator[Any]:
    """Rows of a dataset through the `datasets` library: a repository on the hub or a local folder.

    `options` as for `datasets.load_dataset` (name, split, revision, data_files, token, streaming, …).
    Raises StudyError with the library's first line if it cannot load it.
    """
    import datasets

    datasets.disable_progress_bars()
    try:
        rows: Any = datasets.load_dataset(repo, **options)
        yield from rows
    except Exception as error:  # the library raises dozens of kinds
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StudyError(f"{repo}: datasets cannot load it ({said})") from None
