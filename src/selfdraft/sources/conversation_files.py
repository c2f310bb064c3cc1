"""A data `source` -> conversation records, whatever files it comes in."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfdraft.errors import StudyError
from selfdraft.sources.fetch import fetch, sums_of
from selfdraft.sources.records import Records, read_hub_rows, read_records

JSON = (".json", ".jsonl")
DATA_FILES = ["README.md", "*.json", "*.jsonl", "*.parquet"]  # of any folder; README.md names the splits


def read_source(source: Mapping[str, Any], cache_dir: str | Path) -> tuple[Records, dict[str, Any]]:
    """Records of a data source, and where they came from, with the sha256 of each file read.

    JSON files are read record by record and may be cut in the middle; anything else, and a source
    that names a `split` or `config`, goes through the `datasets` library. Raises StudyError.
    """
    fetched = fetch(source, cache_dir, "dataset", DATA_FILES)
    path = fetched.path
    files = [path] if path.is_file() else chosen_files(path, source.get("files"))
    origin = {**fetched.origin, "sha256": sums_of(files)}
    if all(file.suffix in JSON for file in files) and not ({"split", "config"} & set(source)):
        parts = [read_records(file) for file in files]
        joined = [record for part in parts for record in part.records]
        reasons = "; ".join(part.reason for part in parts if part.reason)
        return Records(joined, sum(part.lost_characters for part in parts), reasons), origin
    return read_rows(path, files, source, Path(cache_dir)), origin


def chosen_files(folder: Path, names: list[str] | None) -> list[Path]:
    """The files that a source names, else all data files of the folder in order of their names."""
    files = (
        [folder / name for name in names]
        if names
        else sorted(path for pattern in ("*.json", "*.jsonl", "*.parquet") for path in folder.rglob(pattern))
    )
    if missing := [file for file in files if not file.is_file()]:
        raise StudyError(f"{missing[0]}: file not found; source.files names it")
    if not files:
        raise StudyError(f"{folder}: no .json, .jsonl or .parquet file")
    return files


def read_rows(path: Path, files: list[Path], source: Mapping[str, Any], cache_dir: Path) -> Records:
    """Rows through the `datasets` library, from files that are on this disk already."""
    os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
    options: dict[str, Any] = {
        "split": source.get("split", "train"),
        "cache_dir": str(cache_dir / "datasets"),
    }
    if source.get("config"):
        return read_hub_rows(str(path), name=source["config"], **options)
    if "split" in source and path.is_dir():
        return read_hub_rows(str(path), **options)
    kind = "parquet" if files[0].suffix == ".parquet" else "json"
    return read_hub_rows(kind, data_files=[str(file) for file in files], **options)
