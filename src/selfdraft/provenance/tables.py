"""What a table says of itself: the settings, commit and config hash in its rows."""

import csv
from pathlib import Path

from selfdraft.errors import StudyError

TOLD = ("commit", "config_hash")


def told_by(path: str | Path, columns: tuple[str, ...] = TOLD) -> dict[str, list[str]]:
    """The different values, sorted, empty ones left out, of those of the `columns` that a CSV table has.

    Raises StudyError if it is no table with a header.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            found: dict[str, set[str]] = {name: set() for name in columns if name in (rows.fieldnames or ())}
            if rows.fieldnames is None:
                raise StudyError(f"{path}: the file is empty; a CSV table with a header is expected")
            for row in rows:
                for name, values in found.items():
                    values.add(row[name] or "")
    except FileNotFoundError:
        raise StudyError(f"{path}: file not found") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise StudyError(f"{path}: not a CSV table ({error})") from None
    return {name: sorted(values - {""}) for name, values in found.items()}
