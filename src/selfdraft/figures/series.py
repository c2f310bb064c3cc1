"""Rows of a table -> the lines of a panel: one per combination of the settings that vary beside x."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from selfdraft.capacities import CAPACITIES
from selfdraft.figures import style
from selfdraft.figures.inputs import FIXED
from selfdraft.statistics.columns import CHECKPOINT, SETTINGS

# Each capacity keeps its colour in every figure; those of the first two belong to capacities alone.
BY_COLOUR = ("head", "head_block", *(name for name in CAPACITIES if name not in ("head", "head_block")))
FIRST: dict[str, Sequence[str]] = {"capacity": CAPACITIES, "drafting": (FIXED,)}  # before all others of the setting
OF_DECODING = tuple(name for name in SETTINGS if name not in CHECKPOINT)  # quality does not depend on these
OF_TRAINED = tuple(name for name in CHECKPOINT if name not in ("drafter", "dataset"))  # empty for other drafters
NAMED = {"layer": "layer {:g}", "T": "T {:g}", "gamma": "gamma {:g}", "seed": "seed {:g}"}
# the order of the words of a label, and of the lines of a legend
ORDER = ("drafter", "dataset", "objective", "capacity", "layer", "T", "policy", "gamma", "drafting", "seed")


@dataclass(frozen=True)
class Look:
    """Colour, marker and line style; the last two tell the lines apart in grey."""

    color: str
    marker: str
    line: Any
    hatch: str
    filled: bool

    def of_markers(self) -> dict[str, Any]:
        """Keywords of Axes.plot for the markers."""
        face = self.color if self.filled else "white"
        return {"color": self.color, "marker": self.marker, "markerfacecolor": face, "markeredgewidth": 0.9}

    def of_bars(self) -> dict[str, Any]:
        """Keywords of Axes.bar; hollow bars are hatched in their colour."""
        if self.filled:
            return {"facecolor": self.color, "edgecolor": "white", "linewidth": 0.3, "hatch": self.hatch}
        return {"facecolor": "white", "edgecolor": self.color, "linewidth": 0.7, "hatch": self.hatch}


@dataclass(frozen=True)
class Series:
    """Rows that one line joins, ordered by x."""

    label: str
    look: Look
    rows: pd.DataFrame

    def values(self, name: str) -> tuple[Any, Any, Any]:
        """Value, low and high, arrays [rows]; NaN where the table has none, or lacks the column."""
        columns = (name, f"{name}_low", f"{name}_high")
        empty = np.full(len(self.rows), np.nan)
        value, low, high = (self.rows[c].to_numpy(float) if c in self.rows else empty for c in columns)
        return value, low, high


def word(name: str, value: Any) -> str:
    """A setting as the legend says it."""
    return NAMED[name].format(value) if name in NAMED else str(value)


def is_set(value: Any) -> bool:
    """Whether the setting has a value; one that the drafter does not have is empty text or NaN."""
    return bool(value != "" and value == value)


def varying(rows: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """The settings worth saying in a label: not one that the trained drafts share and the others do not have."""
    found = {name: rows[name].unique() for name in names}
    return [
        name
        for name, values in found.items()
        if sum(1 for value in values if name not in OF_TRAINED or is_set(value)) > 1
    ]


def split(rows: pd.DataFrame, x: str, ignore: Sequence[str] = (), also: Sequence[str] = ()) -> list[Series]:
    """One Series per combination of the settings, other than `x` and `ignore`, and of the columns `also`, that occur.

    Rows that differ in `ignore` alone carry the same measurement (quality does not depend on policy
    and gamma) and are drawn once. Labels name what varies; the capacity (or the drafter) if nothing does.
    """
    names = [name for name in (*ORDER, *also) if name != x and name not in ignore]
    rows = rows.drop_duplicates([*names, x]) if ignore else rows
    vary = [name for name in names if rows[name].nunique(dropna=False) > 1]
    if not vary:
        name = "capacity" if rows["capacity"].iloc[0] else "drafter"
        return [Series("" if x == name else str(rows[name].iloc[0]), look(0, 0), rows.sort_values(x))]
    said = varying(rows, vary)
    groups = sorted(rows.groupby(vary, dropna=False, sort=True), key=lambda group: _rank(vary, group[0]))
    made = []
    known = capacities(rows)
    colours = colours_of(known)
    seen: dict[str, int] = {}
    for index, (key, part) in enumerate(groups):
        named = dict(zip(vary, key, strict=True))
        label = ", ".join(word(name, named[name]) for name in said if is_set(named[name]))
        colour, variant = index, 0
        if len(known) > 1 and x != "capacity":
            capacity = str(part["capacity"].iloc[0])
            colour, variant = colours[capacity], seen.get(capacity, 0)
            seen[capacity] = variant + 1
        made.append(Series(label, look(colour, variant), part.sort_values(x)))
    return made


def capacities(rows: pd.DataFrame) -> list[str]:
    """The capacities that occur, from few trained parameters to many."""
    found = [str(value) for value in rows["capacity"].unique()]
    return [c for c in CAPACITIES if c in found] + sorted(set(found) - set(CAPACITIES))


def colours_of(known: Sequence[str]) -> dict[str, int]:
    """The colour of each capacity: its own, or one that no capacity among them has (drafters without one)."""
    own = {name: BY_COLOUR.index(name) for name in known if name in BY_COLOUR}
    free = (place for place in itertools.count() if place not in own.values())
    return own | {name: next(free) for name in known if name not in own}


def _rank(names: Sequence[str], key: tuple[Any, ...]) -> tuple[Any, ...]:
    """Known names in their own order, numbers by size, the rest by name."""
    found = []
    for name, value in zip(names, key, strict=True):
        first = FIRST.get(name, ())
        place = first.index(value) if value in first else len(first)
        found.append((place, -1.0 if value != value else value))  # a layer that is empty comes first
    return tuple(found)


def look(colour: int, variant: int) -> Look:
    """The look of a colour's first, second … line: the second on has hollow markers."""
    place = colour + 2 * variant
    return Look(
        style.PALETTE[colour % len(style.PALETTE)],
        style.MARKERS[place % len(style.MARKERS)],
        style.LINES[place % len(style.LINES)],
        style.HATCHES[place % len(style.HATCHES)],
        variant == 0,
    )


def kind(place: int) -> Look:
    """The look of the first, second … of things that are no capacity, not in the colours of the head and the block."""
    colours = style.PALETTE[2:]
    return Look(
        colours[place % len(colours)],
        style.MARKERS[place % len(style.MARKERS)],
        style.LINES[place % len(style.LINES)],
        style.HATCHES[place % len(style.HATCHES)],
        True,
    )


def lines(ax: Axes, made: Sequence[Series], x: str, name: str, apart: float = 0.05) -> bool:
    """Draw `name` over `x` with intervals, the series a little apart; False if nothing was measured."""
    places = np.unique(np.concatenate([s.rows[x].to_numpy(float) for s in made]))
    along, back = (np.log2, np.exp2) if ax.get_xscale() == "log" else (np.array, np.array)
    step = float(np.min(np.diff(along(places)))) if len(places) > 1 else 1.0
    step *= min(apart, 0.3 / len(made))
    drawn = False
    for index, series in enumerate(made):
        value, low, high = series.values(name)
        known = np.isfinite(value)
        if not known.any():
            continue
        drawn = True
        shift = step * (index - (len(made) - 1) / 2)
        at = back(along(series.rows[x].to_numpy(float)) + shift)
        ax.plot(
            at[known],
            value[known],
            label=series.label,
            linestyle=series.look.line,
            **series.look.of_markers(),
        )
        style.intervals(ax, at[known], low[known], high[known], series.look.color)
    if drawn:
        style.ticks_at(ax, places)
        if len(places) == 1:
            ax.set_xlim(*back(along(places[0]) + np.array([-0.5, 0.5])))
    else:
        style.not_measured(ax, name)
    return drawn
