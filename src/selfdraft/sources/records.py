"""Records out of data files as a stream: JSON (also cut in the middle), JSON lines, Parquet, plain text."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selfdraft.errors import StudyError
from selfdraft.sources.json_values import LEADING, is_turn, json_values
from selfdraft.sources.losses import Losses
from selfdraft.sources.packed_files import open_bytes, open_lines, plain_suffix, unpack_whole
from selfdraft.sources.text_encoding import whole_text
from selfdraft.sources.wrappers import WRAPPERS

MOST_PARTS = 4
JSON_KINDS = (".json", ".jsonl", ".ndjson")
POINTER = b"version https://git-lfs.github.com/spec/"


class NoRecords(StudyError):
    """A file of records that has none; beside others it is no mistake."""


def records_of(path: Path, identity: str, losses: Losses) -> Iterator[Any]:
    """The records of one file, by its kind; a plain text is one record {id, text} with `identity`.

    What cannot be read is noted in `losses` by the time the stream ends. Raises StudyError for a file
    of another kind, one that is not what its name says, or one without a single record.
    """
    refuse_pointer(path)
    kind = plain_suffix(path)
    if kind in JSON_KINDS:
        return json_records(path, losses)
    if kind == ".parquet":
        return parquet_records(path, losses)
    if kind == ".arrow":
        return arrow_records(path, losses)
    if kind == ".txt":
        return iter([{"id": identity, "text": plain_text(path, losses)}])
    raise StudyError(f"{path}: expected a .json, .jsonl, .parquet or .txt file, plain or packed as .gz or .zst")


def refuse_pointer(path: Path) -> None:
    """Raises StudyError for a file that Git LFS left in place of a large one."""
    try:
        with path.open("rb") as file:
            begin = file.read(len(POINTER))
    except OSError as error:
        raise StudyError(f"{path}: {error.strerror}") from None
    if begin == POINTER:
        raise StudyError(f"{path}: a Git LFS pointer, not the data itself; `git lfs pull` brings them")


def json_records(path: Path, losses: Losses) -> Iterator[Any]:
    """Records of a JSON file: a list, one in each line, one after the other, or a list inside one object.

    A list that breaks off keeps what is complete and counts the rest; so do broken lines. Raises
    StudyError if the file is not JSON at all, and NoRecords if it has no complete record.
    """
    with open_lines(path, losses) as lines:
        head = ""
        for line in lines:
            head += line
            if line.strip(LEADING):
                break
        begin = head.lstrip(LEADING)
        if not begin:
            raise NoRecords(f"{path}: not JSON: found an empty file, expected a list of records or one in each line")
        if begin[0] not in "{[":
            seen = repr(begin[:20])
            raise StudyError(f"{path}: not JSON: found {seen}, expected a list of records or one in each line")
        count = 0
        found = json_values(head, lines, losses)
        for record in unwrapped(found) if begin[0] == "{" else found:
            count += 1
            yield record
        if not count:
            raise NoRecords(f"{path}: no complete record ({losses.reason or 'the list is empty'})")


def unwrapped(values: Iterator[Any]) -> Iterator[Any]:
    """The values, but of a single object that only wraps lists of records, those."""
    first = next(values, None)
    if first is None:
        return
    lists = wrapped_lists(first)
    second = next(values, None) if lists else None
    if lists and second is None:
        for records in lists:
            yield from records
        return
    yield first
    if second is not None:
        yield second
    yield from values


def wrapped_lists(value: Any, deeper: bool = True) -> list[list[Any]]:
    """The lists of records inside an object: under a usual name, or the only thing in it; not a record's own turns.

    Also one level `deeper`, and records that the object holds by their ids.
    """
    if not isinstance(value, dict):
        return []
    if named := named_records(value):
        return [named]
    found: list[list[Any]] = []
    for key, inner in value.items():
        if str(key).lower() not in WRAPPERS and len(value) > 1:
            continue
        if isinstance(inner, dict):
            found += wrapped_lists(inner, deeper=False) if deeper else []
        elif (
            isinstance(inner, list)
            and inner
            and all(isinstance(element, dict | list) or element is None for element in inner)
            and not any(is_turn(element) for element in inner)
        ):
            found.append(inner)
    return found


def named_records(value: dict[Any, Any]) -> list[Any]:
    """The records of {id: record, …} or {id: turns, …}, with their ids; none if the object is anything else."""
    inner = list(value.values())
    if len(inner) < 2:
        return []
    if all(isinstance(turns, list) and turns and all(map(is_turn, turns)) for turns in inner):
        return [{"id": key, "conversations": turns} for key, turns in value.items()]
    alike = all(isinstance(record, dict) and record.keys() == inner[0].keys() for record in inner)
    if not alike or any(is_turn(record) for record in inner):
        return []
    if len(inner) <= MOST_PARTS and not any(isinstance(part, list) for part in inner[0].values()):
        return []  # one record, whose few parts are alike: {prompt: {text, language}, answer: {text, language}}
    return [{"id": key, **record} for key, record in value.items()]


def parquet_records(path: Path, losses: Losses) -> Iterator[Any]:
    """Rows of a Parquet file, one row group in memory at a time.

    Raises StudyError for a file that was cut: its table of contents stands at the end, so nothing in
    it can be read.
    """
    import pyarrow
    from pyarrow.parquet import ParquetFile

    packed = path.suffix.lower() != ".parquet"
    with io.BytesIO(unpack_whole(path, losses)) if packed else open_bytes(path, losses) as source:
        try:
            file = ParquetFile(source)
            for group in range(file.num_row_groups):
                yield from file.read_row_group(group).to_pylist()
        except (pyarrow.ArrowException, OSError) as error:
            said = losses.reason or " ".join(str(error).split())
            raise StudyError(f"{path}: not a whole Parquet file ({said})") from None


def arrow_records(path: Path, losses: Losses) -> Iterator[Any]:
    """Rows of an Arrow file as the `datasets` library saves them, one batch in memory at a time."""
    import pyarrow

    with open_bytes(path, losses) as source:
        try:
            yield from (row for batch in pyarrow.ipc.open_stream(source) for row in batch.to_pylist())
        except (pyarrow.ArrowException, OSError) as error:
            said = losses.reason or " ".join(str(error).split())
            raise StudyError(f"{path}: not a whole stream of Arrow batches ({said})") from None


def plain_text(path: Path, losses: Losses) -> str:
    """A text file's content; see `text_encoding` for one that is not UTF-8."""
    return whole_text(unpack_whole(path, losses), losses.changed)


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
