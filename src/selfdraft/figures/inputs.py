"""What a figure reads: tables cut to one sweep, training logs, and the overrides of the style."""

import difflib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from selfdraft.checkpoints import NAME, Checkpoint
from selfdraft.errors import StudyError
from selfdraft.figures.style import Style
from selfdraft.statistics.columns import LOSSLESS, NUMERIC_SETTINGS, SETTINGS
from selfdraft.statistics.raw_tables import numbers, read_raw, read_text

FIXED = "fixed"  # the way of drafting of a sweep, a table or a row that names none
TEXT_COLUMNS = (*SETTINGS, LOSSLESS, "interval_note", "commit", "config_hash")


def json_object(text: str, option: str) -> dict[str, Any]:
    """The object in a JSON option. Raises StudyError naming the option."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise StudyError(f"{option}: not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise StudyError(f'{option}: {text} is not an object like {{"layer": [14, 21]}}')
    return value


def checked_sweep(sweep: dict[str, Any]) -> dict[str, list[Any]]:
    """A grid of settings, each value a list. Raises StudyError for a key that is no setting.

    Without `drafting` the grid means drafts of fixed length; the empty grid means everything.
    """
    for key in sweep:
        if key not in SETTINGS:
            near = difflib.get_close_matches(key, SETTINGS, 1)
            hint = f'; did you mean "{near[0]}"?' if near else f"; known are {', '.join(SETTINGS)}"
            raise StudyError(f"--sweep: {key}: unknown key{hint}")
    grid = {key: value if isinstance(value, list) else [value] for key, value in sweep.items()}
    for key, values in grid.items():
        for value in values:
            if key in NUMERIC_SETTINGS and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise StudyError(f"--sweep: {key}: {value!r} is not a number")
    return grid if not grid else {"drafting": [FIXED]} | grid


def select(table: pd.DataFrame, sweep: dict[str, list[Any]], path: Path) -> pd.DataFrame:
    """The rows whose settings lie in the sweep's grid. Raises StudyError if there are none."""
    left = table
    for key, values in sweep.items():
        if key not in table.columns:
            continue
        left = left[left[key].isin(values)]
        if left.empty:
            have = ", ".join(str(value) for value in sorted(table[key].dropna().unique()))
            raise StudyError(f"{path}: no row left for the sweep at {key} in {values}; the table has {have or 'none'}")
    return left.reset_index(drop=True)


def check_columns(table: pd.DataFrame, names: Sequence[str], path: Path, kind: str) -> None:
    """Raises StudyError naming the columns that the table lacks."""
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise StudyError(f"{path}: column {', '.join(missing)} is missing; is this a {kind}?")


def with_drafting(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its column `drafting`; `fixed` where it is empty or absent."""
    return table.assign(drafting=table["drafting"].replace("", FIXED) if "drafting" in table else FIXED)


def read_results(path: Path) -> pd.DataFrame:
    """results.csv: settings and notes as text, every other column as floats, empty as NaN."""
    table = read_text(path)
    check_columns(table, [name for name in SETTINGS if name != "drafting"], path, "results.csv")
    table = with_drafting(table)
    floats = [name for name in table.columns if name in NUMERIC_SETTINGS or name not in TEXT_COLUMNS]
    return table.assign(**{name: numbers(table, name, path) for name in floats}).copy()  # in one piece again


def read_table(
    path: Path, kind: str, texts: Sequence[str], sizes: Sequence[str], measured: Sequence[str]
) -> pd.DataFrame:
    """A table of another stage: `texts`, `sizes` (numbers above 0, never empty) and `measured` (floats, NaN if empty).

    Intervals of what is measured may be absent; `drafting` too. Settings that are numbers are read as such.
    `texts` and `sizes`, and `device` where there is one, tell the rows apart. Raises StudyError naming the
    file and the column that is missing or holds something else, or the row that stands there twice.
    """
    table = read_text(path)
    check_columns(table, [name for name in (*texts, *sizes, *measured) if name != "drafting"], path, kind)
    if "drafting" in texts:
        table = with_drafting(table)
    ends = [f"{name}_{end}" for name in measured for end in ("low", "high")]
    floats = [*sizes, *measured, *(name for name in (*ends, *NUMERIC_SETTINGS) if name in table.columns)]
    table = table.assign(**{name: numbers(table, name, path) for name in floats})
    for name in sizes:
        bad = ~(table[name] > 0)
        if bad.any():
            row = int(bad.to_numpy().argmax())
            found = read_text(path)[name].iloc[row]
            raise StudyError(f"{path}: column {name}, row {row + 1}: {found!r} is not a number above 0")
    key = list(dict.fromkeys([*texts, *sizes, *(name for name in ("device",) if name in table.columns)]))
    twice = table.duplicated(key)
    if twice.any():
        row = int(twice.to_numpy().argmax())
        raise StudyError(f"{path}: row {row + 1}: {', '.join(key)} are those of an earlier row; each may stand once")
    return table


@dataclass(frozen=True)
class Log:
    """One checkpoint's training log; `settings` are read from its folder's name, {} if it says none."""

    name: str
    settings: dict[str, Any]
    lines: pd.DataFrame


def read_log(path: Path, names: Sequence[str]) -> Log:
    """The numbers `names` of a train_log.jsonl; the checkpoint is the folder it lies in.

    Raises StudyError naming the line.
    """
    try:
        texts = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise StudyError(f"{path}: file not found") from None
    lines = []
    for number, text in enumerate(texts, 1):
        try:
            line = json.loads(text)
            lines.append({key: line.get(key) for key in names})
        except (json.JSONDecodeError, AttributeError):
            raise StudyError(f"{path}: line {number}: not a JSON object; is the file cut short?") from None
    if not lines:
        raise StudyError(f"{path}: the training log is empty")
    name = path.parent.name
    settings = asdict(Checkpoint.named(name)) if NAME.fullmatch(name) else {}
    try:
        table = pd.DataFrame(lines).astype(float)
    except (TypeError, ValueError):
        raise StudyError(f"{path}: {', '.join(names)} are not all numbers or null") from None
    return Log(path.parent.name, settings, table)


@dataclass(frozen=True)
class Inputs:
    """The files a figure may read. Asking for one that was not given is a StudyError.

    `statistics` is the config's section, for a figure that makes intervals
    itself. `read` lists those files that it did read, in the order in which it asked.
    """

    results_path: Path | None = None
    acceptance_path: Path | None = None
    log_paths: tuple[Path, ...] | None = None
    table_path: Path | None = None
    sweep: dict[str, list[Any]] = field(default_factory=dict)
    style: Style = field(default_factory=Style)
    statistics: dict[str, Any] = field(default_factory=dict)
    read: list[Path] = field(default_factory=list)

    def _reads(self, *paths: Path) -> None:
        self.read.extend(path for path in paths if path not in self.read)

    def results(self) -> pd.DataFrame:
        """The rows of results.csv in the sweep."""
        if self.results_path is None:
            raise StudyError("--results: not given; this figure reads results.csv")
        self._reads(self.results_path)
        return select(read_results(self.results_path), self.sweep, self.results_path)

    def acceptance(self) -> pd.DataFrame:
        """The rows per cycle in the sweep, settings as numbers where they are numbers."""
        if self.acceptance_path is None:
            raise StudyError("--acceptance: not given; this figure reads the acceptance rows")
        self._reads(self.acceptance_path)
        rows = with_drafting(read_raw(self.acceptance_path, "acceptance"))
        # floats, whether or not some drafter has no layer: what names a point must not depend on other points
        settings = {name: pd.to_numeric(rows[name]).astype(float) for name in NUMERIC_SETTINGS}
        return select(rows.assign(**settings), self.sweep, self.acceptance_path)

    def table(self, kind: str, texts: Sequence[str], sizes: Sequence[str], measured: Sequence[str]) -> pd.DataFrame:
        """The rows of the table of another stage (`kind`, its usual file) in the sweep; see `read_table`."""
        if self.table_path is None:
            raise StudyError(f"--table: not given; this figure reads {kind}")
        self._reads(self.table_path)
        table = read_table(self.table_path, kind, texts, sizes, measured)
        return select(table, self.sweep, self.table_path)

    def logs(self, names: Sequence[str]) -> list[Log]:
        """The numbers `names` of the training logs in the sweep, ordered by layer, T and capacity.

        None if there are none, where the option was given without a file.
        """
        if self.log_paths is None:
            raise StudyError("--logs: not given; this figure reads train_log.jsonl files")
        logs = {path: read_log(path, names) for path in self.log_paths}
        kept = {
            path: log
            for path, log in logs.items()
            if all(log.settings[key] in self.sweep.get(key, [log.settings[key]]) for key in log.settings)
        }
        if logs and not kept:
            there = ", ".join(log.name for log in logs.values())
            raise StudyError(f"--logs: no checkpoint of the sweep among {there}")
        self._reads(*kept)
        order = ("layer", "T", "capacity", "objective", "seed")
        return sorted(kept.values(), key=lambda log: (*(log.settings.get(key, "") for key in order), log.name))
