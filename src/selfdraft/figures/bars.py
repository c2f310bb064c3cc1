"""Groups of bars beside each other, upright or sideways, with their intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from selfdraft.figures import style
from selfdraft.figures.series import Series

WIDTH = 0.8  # of a group; groups are 1 apart


def places(series: Series, by: str, groups: Sequence[Any], index: int, count: int) -> Any:
    """Where the bars of series `index` of `count` stand, array [rows]; NaN for a row of none of the groups."""
    at = np.array([groups.index(group) if group in groups else np.nan for group in series.rows[by]], dtype=float)
    return at + WIDTH / count * (index - (count - 1) / 2)


def grouped(
    ax: Axes, made: Sequence[Series], name: str, by: str, groups: Sequence[Any], sideways: bool = False
) -> bool:
    """Draw `name` with intervals: in each group, a value of the column `by`, at most one bar per series.

    The groups stand at 0, 1, … in their order. False if nothing was measured.
    """
    drawn = False
    for index, series in enumerate(made):
        value, low, high = series.values(name)
        at = places(series, by, groups, index, len(made))
        known = np.isfinite(value) & np.isfinite(at)
        if not known.any():
            continue
        drawn = True
        draw = ax.barh if sideways else ax.bar
        draw(at[known], value[known], 0.92 * WIDTH / len(made), label=series.label, **series.look.of_bars())
        axis = "x" if sideways else "y"
        style.intervals(ax, at[known], low[known], high[known], "k", axis, width=0.7, z=3)
    if drawn:
        name_small_bars(ax, sideways)
    else:
        style.not_measured(ax, name)
    return drawn


def name_groups(ax: Axes, names: Sequence[str]) -> None:
    """Write each group's name below its upright bars; a group that stands alone keeps room beside it."""
    room = 0.4 * (len(names) == 1)
    ax.set_xticks(range(len(names)), list(names))
    ax.set_xlim(-0.6 - room, len(names) - 0.4 + room)
    ax.tick_params(axis="x", length=0)


def name_rows(ax: Axes, names: Sequence[str]) -> None:
    """Write each group's name to the left of its sideways bars, the first group on top."""
    ax.set_yticks(range(len(names)), list(names))
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)


def name_small_bars(ax: Axes, sideways: bool = False) -> None:
    """Write the value beside a bar too low to be seen, so that it is not taken for a missing one."""
    top = (ax.get_xlim() if sideways else ax.get_ylim())[1]
    for bar in ax.patches:
        if not isinstance(bar, Rectangle):
            continue
        value = bar.get_width() if sideways else bar.get_height()
        if value >= 0.015 * top:
            continue
        if sideways:
            style.note(ax, f"{round(value, 3):.2g}", value, bar.get_y() + bar.get_height() / 2, right=True)
        else:
            style.note(ax, f"{round(value, 3):.2g}", bar.get_x() + bar.get_width() / 2, value)
