"""Raw rows that are kept beside the tables, a file a point: a job that runs again measures what changed alone."""

import csv
import glob
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from selfdraft.evaluation.rows import checkpoint_settings, write_rows
from selfdraft.files import sha256_of
from selfdraft.models.exit import read_checkpoint_config

HELP_KEPT = "folder of rows measured before: those of the same code, settings, drafts and text are taken from there"
HELP_CODE = "file that changes with the code that measures, for --kept-dir"


def digest(value: Any) -> str:
    """16 hex digits of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def draft_identity(folder: str | Path) -> list[Any]:
    """What a checkpoint's rows show of it: the columns that its config decides, and the sha256 of its weights."""
    settings = checkpoint_settings(read_checkpoint_config(folder))
    return [settings, sha256_of(Path(folder) / "draft.safetensors")]


class Kept:
    """The kept rows of one stage; without a `folder` nothing is kept.

    `shape` is what decides all rows of the job, as JSON values; `code` a file that tells the code.
    """

    def __init__(self, folder: str | Path | None, code: str | Path | None, shape: Any) -> None:
        self.folder = None if folder is None else Path(folder)
        self._shape = [shape, sha256_of(code) if code is not None else None]

    def find(self, name: str, decides: Any) -> list[dict[str, str]] | None:
        """The rows kept under `name`, if they are those of what `decides` them beside the shape; else None."""
        path = self._path(name, decides)
        if path is None or not path.is_file():
            return None
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def keep(self, name: str, decides: Any, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
        """Keep these rows in place of older ones of this name."""
        path = self._path(name, decides)
        if path is None:
            return
        write_rows(path, columns, rows)
        for other in path.parent.glob(f"{glob.escape(name)}.{'[0-9a-f]' * 16}.csv"):
            if other != path:
                other.unlink(missing_ok=True)

    def _path(self, name: str, decides: Any) -> Path | None:
        return None if self.folder is None else self.folder / f"{name}.{digest([self._shape, decides])}.csv"
