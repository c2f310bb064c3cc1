"""Raw tables: one CSV per measured point, its settings in front of every row."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from selfdraft.files import whole_file

SETTINGS = ("drafter", "layer", "T", "capacity", "objective", "seed", "policy", "gamma", "dataset", "drafting")


def checkpoint_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings columns that a checkpoint's config.json decides."""
    return {name: config[name] for name in SETTINGS if name in config}


def write_rows(path: str | Path, columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as CSV, whole or not at all; a missing or None value is an empty cell.

    Floats are written with repr's digits, so that they read back equal.
    """
    with whole_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
