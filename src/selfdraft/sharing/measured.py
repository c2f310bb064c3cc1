"""What a results.csv says of one draft: its rows, and the machine whose speed it was."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfdraft.errors import StudyError
from selfdraft.files import read_json

EXIT = ("layer", "T", "capacity", "objective", "seed")  # what tells one exit from another beside `drafter`
TOLD = ("policy", "gamma", "dataset", "drafting")
Row = dict[str, str]


def rows_of(path: Path, config: Mapping[str, Any]) -> list[Row]:
    """The rows of the draft whose config.json is given, as text by column.

    Raises StudyError if there are none, or if they are of another draft of that name.
    """
    rows = _read(path)
    wanted = {"drafter": config.get("drafter")}
    if "kind" not in config:
        wanted |= {name: config.get(name) for name in EXIT}
    found = [row for row in rows if all(_same(row.get(name, ""), value) for name, value in wanted.items())]
    if not found:
        asked = ", ".join(f"{name} {value}" for name, value in wanted.items())
        there = sorted({row.get("drafter", "") for row in rows})
        raise StudyError(f"{path}: no row of this draft ({asked}); it has rows of {', '.join(there)}")
    ours = config.get("trained_parameters")
    for row in found:
        theirs = row.get("trained_parameters")
        if theirs and ours is not None and not _same(theirs, ours):
            raise StudyError(
                f"{path}: trained_parameters: {theirs} there, {ours} in the checkpoint: these are rows of another "
                "draft of that name"
            )
    return found


def machine_of(path: Path) -> str:
    """The processor or GPU, and the threads, by which the table was timed, if provenance.json beside it says so."""
    try:
        machine = read_json(path.parent / "provenance.json")["machine"]
        names = [machine.get("gpu") or machine["cpu"], f"{machine['threads']} threads"]
    except (StudyError, KeyError, TypeError, AttributeError):
        return ""
    return ", ".join(str(name) for name in names)


def estimate(row: Mapping[str, str], name: str) -> str:
    """A number, with its interval if it has one, as text: `1.16 [1.03, 1.41]`; a dash if it was not measured."""
    value, low, high = (row.get(column, "") for column in (name, f"{name}_low", f"{name}_high"))
    if value == "":
        return "–"
    return f"{_short(value)} [{_short(low)}, {_short(high)}]" if low and high else _short(value)


def _short(text: str) -> str:
    """Three digits that count."""
    try:
        return f"{float(text):#.3g}".rstrip(".")
    except ValueError:
        return text


def _same(text: object, value: object) -> bool:
    """Whether a cell says the value: 1, 1.0 and 1e0 are one number."""
    try:
        return float(str(text)) == float(str(value))
    except ValueError:
        return str(text) == str("" if value is None else value)


def _read(path: Path) -> list[Row]:
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = [{name: value or "" for name, value in row.items() if name} for row in csv.DictReader(file)]
    except FileNotFoundError:
        raise StudyError(f"{path}: file not found") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise StudyError(f"{path}: not a CSV table ({error})") from None
    if not rows or "drafter" not in rows[0]:
        raise StudyError(f"{path}: no results.csv: it has no column `drafter` with rows under it")
    return rows
