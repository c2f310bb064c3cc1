"""Lines of a table that has vanilla decoding beside the drafts: a line per draft, and vanilla's in black."""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from selfdraft.figures import style
from selfdraft.figures.series import Series, look, split
from selfdraft.statistics.columns import SETTINGS

RUN = ("dtype", "device")  # what tells lines apart beside the settings
OF_DRAFTS = tuple(name for name in SETTINGS if name not in ("policy", "dataset"))  # vanilla does not depend on these
BLACK = len(style.PALETTE) - 1


def drafted_and_vanilla(rows: pd.DataFrame, x: str) -> tuple[list[Series], list[Series]]:
    """The series over `x` of all drafts, and those of vanilla decoding, one per policy."""
    drafted = split(rows, x, also=RUN)
    vanilla = [
        replace(series, look=look(BLACK, place), label=f"vanilla, {series.label}")
        for place, series in enumerate(split(rows, x, ignore=OF_DRAFTS, also=RUN))
    ]
    if len(vanilla) == 1:
        vanilla = [replace(vanilla[0], label="vanilla")]
    if len(drafted) == 1:
        drafted = [replace(drafted[0], label="speculative")]
    return drafted, vanilla


def renamed(series: Series, old: str, new: str) -> Series:
    """The series with the values of `old` in the columns of `new`."""
    return replace(series, rows=series.rows.rename(columns=lambda column: column.replace(old, new)))


def both(
    drafted: Sequence[Series], vanilla: Sequence[Series], of_draft: str, of_vanilla: str, name: str
) -> list[Series]:
    """Vanilla's lines, then the drafts', what each calls its own in the columns of `name`."""
    return [*(renamed(s, of_vanilla, name) for s in vanilla), *(renamed(s, of_draft, name) for s in drafted)]
