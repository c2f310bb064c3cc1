"""The folder that the text reads: numbers.json with the sentences, and each table as CSV and as LaTeX."""

import csv
from pathlib import Path
from typing import Any

from selfdraft.files import whole_folder, write_json
from selfdraft.paper.appendix import appendix
from selfdraft.paper.latex import fragment
from selfdraft.paper.measured import Measured
from selfdraft.paper.sentences import sentences
from selfdraft.paper.setup import setup
from selfdraft.paper.tables import Table, tables

OWN = ("numbers.json", "*.csv", "*.tex")


def write_numbers(folder: Path, study: Measured) -> dict[str, Any]:
    """Write all that the paper says of a study to `folder`, whole; gives what numbers.json holds.

    `sentences` by name; `tables`: rows, rows left out and alignment of each; `read`: sha256 of the study's tables by
    their names, commits and config hashes.
    """
    made = tables(study) | appendix(study)
    said = {
        "sentences": sentences(study) | setup(study),
        "tables": {
            name: {"rows": len(table.rows), "left_out": table.left_out, "align": table.align}
            for name, table in made.items()
        },
        "read": study.read,
    }
    with whole_folder(folder, OWN) as temporary:
        for name, table in made.items():
            write_table(temporary / name, table)
        write_json(temporary / "numbers.json", said)
    return said


def write_table(path: Path, table: Table) -> None:
    """Write `path`.csv and `path`.tex."""
    with path.with_suffix(".csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table.columns)
        writer.writerows(table.rows)
    path.with_suffix(".tex").write_text(fragment(table), encoding="utf-8")
