"""Raw tables of many points -> one table, every field as it was written."""

import csv
from collections.abc import Sequence
from pathlib import Path

from selfdraft.errors import StudyError
from selfdraft.files import whole_file


def _difference(path: Path, columns: Sequence[str], first: Path, expected: Sequence[str]) -> str:
    """One line that names the column in which two headers part."""
    missing = [column for column in expected if column not in columns]
    extra = [column for column in columns if column not in expected]
    if missing:
        return f"{path}: column {', '.join(missing)} is missing; {first} has it"
    if extra:
        return f"{path}: column {', '.join(extra)} is not in {first}; all tables need the same columns"
    where = next((i for i, pair in enumerate(zip(columns, expected, strict=False)) if len(set(pair)) > 1), -1)
    return f"{path}: column {columns[where]} stands where {first} has {expected[where]}; the order must agree"


def gather(tables: Sequence[Path], out: Path) -> int:
    """Write the rows of all tables, in the order given, under one header; return how many there are.

    Raises StudyError naming the file, and the column or line that does not fit.
    """
    if not tables:
        raise StudyError("--tables: no file given; name at least one CSV table")
    expected: list[str] | None = None
    count = 0
    with whole_file(out) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for path in tables:
            try:
                source = path.open(encoding="utf-8", newline="")
            except FileNotFoundError:
                raise StudyError(f"{path}: file not found") from None
            with source:
                reader = csv.reader(source)
                columns = next(reader, None)
                if not columns:
                    raise StudyError(f"{path}: the file is empty; a CSV table with a header is expected")
                if expected is None:
                    expected = columns
                    writer.writerow(columns)
                elif columns != expected:
                    raise StudyError(_difference(path, columns, tables[0], expected))
                for row in reader:
                    if not row:
                        continue
                    if len(row) != len(columns):
                        raise StudyError(
                            f"{path}: line {reader.line_num}: {len(row)} fields, "
                            f"the header has {len(columns)} columns; is the file cut short?"
                        )
                    writer.writerow(row)
                    count += 1
    return count
