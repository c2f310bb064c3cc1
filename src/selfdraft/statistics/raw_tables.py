"""Reading the raw tables: every column present, every number a finite number or empty."""

from pathlib import Path

import numpy as np
import pandas as pd

from selfdraft.errors import StudyError
from selfdraft.statistics.columns import (
    LATER_NUMBERS,
    LATER_TEXTS,
    NUMERIC_SETTINGS,
    RAW_COLUMNS,
    RAW_NUMBERS,
    SETTINGS,
)


def read_text(path: str | Path) -> pd.DataFrame:
    """A CSV file as a table of strings, exactly as written. Raises StudyError if it is none or empty."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except FileNotFoundError:
        raise StudyError(f"{path}: file not found") from None
    except pd.errors.EmptyDataError:
        raise StudyError(f"{path}: the file is empty; a CSV table with a header is expected") from None
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: not a CSV table ({str(error).strip()})") from None
    if table.empty:
        raise StudyError(f"{path}: the table has a header and no rows; measure at least one point first")
    return table


def numbers(table: pd.DataFrame, column: str, path: str | Path) -> "pd.Series[float]":
    """One column as floats, empty as NaN. Raises StudyError for anything else, "nan" included."""
    text = table[column]
    values = pd.to_numeric(text, errors="coerce").astype(float)
    bad = (text != "") & ~np.isfinite(values)
    if bad.any():
        line = int(np.flatnonzero(bad.to_numpy())[0])
        raise StudyError(f"{path}: column {column}, row {line + 1}: {text.iloc[line]!r} is not a finite number")
    return values


def setting(value: str, name: str, path: str | Path) -> str:
    """The one spelling of a setting, so that "1", "1.0" and "1e0" meet: T as float, layer … as int."""
    if name not in NUMERIC_SETTINGS or value == "":
        return value
    try:
        number = float(value)
        return repr(number) if name == "T" else str(int(number))
    except (ValueError, OverflowError):
        raise StudyError(f"{path}: column {name}: {value!r} is not a number") from None


def read_raw(path: str | Path, kind: str) -> pd.DataFrame:
    """A raw table: settings as canonical strings, measurements as floats (empty: NaN), the rest as text.

    Args: kind: quality, acceptance, speed or steps.
    Raises: StudyError naming the file and each missing column, or the column that holds no number.
    """
    return checked(read_text(path), kind, path)


def checked(table: pd.DataFrame, kind: str, path: str | Path) -> pd.DataFrame:
    """A table of strings as a raw table; see `read_raw`. `path` is where it was found."""
    missing = [column for column in RAW_COLUMNS[kind] if column not in table.columns]
    if missing:
        raise StudyError(f"{path}: column {', '.join(missing)} is missing from the {kind} table")
    later = LATER_NUMBERS.get(kind, ())
    filled = dict.fromkeys(later, "0") | dict.fromkeys(LATER_TEXTS.get(kind, ()), "")
    table = table.assign(**{name: text for name, text in filled.items() if name not in table.columns})
    measured = {name: numbers(table, name, path) for name in (*RAW_NUMBERS[kind], *later)}
    spelled = {
        name: table[name].map({text: setting(text, name, path) for text in table[name].unique()})
        for name in SETTINGS
        if name in table.columns
    }
    # Sums of floats depend on their order, and an interval's end on a tie: the order of the file must not matter.
    within = [name for name in ("conversation", "prompt", "cycle", "repeat", "pair") if name in table.columns]
    return table.assign(**spelled, **measured).sort_values(within, kind="stable", ignore_index=True)
