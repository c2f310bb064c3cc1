"""Rows of a table -> panels, one per device, number format and batch size, and their bars, a look per name."""

from collections.abc import Iterable, Sequence

import pandas as pd

from selfdraft.figures.series import Look, Series, kind

RUN = ("device", "dtype", "batch")


def by_run(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The title and the rows of each panel; the device is named if there are several."""
    have = [name for name in RUN if name in rows.columns]
    several = "device" in have and rows["device"].nunique() > 1
    made = []
    for key, part in rows.groupby(have, sort=True):
        said = dict(zip(have, key, strict=True)) | {"batch": f"batch {part['batch'].iloc[0]:g}"}
        made.append((", ".join(str(said[name]) for name in have if name != "device" or several), part))
    return made


def in_order(names: Iterable[str], known: Sequence[str]) -> list[str]:
    """The names without repeats: those that are known in their own order, then the others as they come."""
    found = list(dict.fromkeys(names))
    return [name for name in known if name in found] + [name for name in found if name not in known]


def looks(names: Iterable[str], known: Sequence[str]) -> dict[str, Look]:
    """The look of each name, in the same order; one that is known looks the same whichever others there are."""
    found = in_order(names, known)
    order = [*known, *(name for name in found if name not in known)]
    return {name: kind(order.index(name)) for name in found}


def by_name(rows: pd.DataFrame, column: str, shown: dict[str, Look]) -> list[Series]:
    """One Series per name in `column`, in the order of `shown`; none for a name without rows."""
    parts = ((name, look, rows[rows[column] == name]) for name, look in shown.items())
    return [Series(name, look, part) for name, look, part in parts if not part.empty]
