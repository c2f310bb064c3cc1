"""Where drafted tokens leave, and what that is worth at each accuracy level, beside dynamic and the best fixed exit."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from selfdraft.figures import style
from selfdraft.figures.inputs import Inputs
from selfdraft.figures.quantities import upright
from selfdraft.statistics.columns import SETTINGS

LEAVING, FIXED, LEVELS, BEST = "share", "fixed_exit", "adaptive_early_exit", "best_level"
ASKED = ("heads", "measure", "rule", "risk")
GROUP = ["policy", "gamma", "dataset", "drafting"]  # points are compared with those that are alike in these
BY_LEVEL = ("speedup", "accept_rate")
OVER_FIXED = "speedup_over_fixed"
REFERENCES = {"speedup": 1.0, OVER_FIXED: 0.0}

Places = dict[str, int]  # of each label the place of its look: a drafter looks alike in all panels


def draw(inputs: Inputs) -> Figure:
    """Four panels: the share of drafted tokens by layer, a line a drafter; speedup and accept rate by level; and what
    the speedup is beyond that of the best fixed exit at the layers of the same heads, paired by prompt.
    """
    texts = (*SETTINGS, "kind", *ASKED)
    rows = _compared(inputs.table("exit_layers.csv", texts, (), ("accuracy_level", LEAVING, *BY_LEVEL, OVER_FIXED)))
    several = len(rows[GROUP].drop_duplicates()) > 1
    figure, axes = style.canvas(inputs.style, style.FULL, 4.6, 2, 2)
    axes[0].set(xlabel="layer that tokens leave after", ylabel="share of drafted tokens")
    leaving = rows[(rows["kind"] != FIXED) & rows[LEAVING].notna()]
    places: Places = {}
    for key, part in leaving.groupby(["drafter", *GROUP], sort=False):
        label = f"{key[0]}, {_said(key[1:])}" if several else str(key[0])
        _line(axes[0], part.sort_values("layer"), "layer", LEAVING, places, label)
    if leaving.empty:
        style.not_measured(axes[0], LEAVING)
    else:
        axes[0].set_ylim(-0.02, 1.02)
        style.ticks_at(axes[0], leaving["layer"])
    for ax, name in zip(axes[1:], (*BY_LEVEL, OVER_FIXED), strict=True):
        ax.set(xlabel="accuracy level", ylabel=upright(name))
        if not _by_level(ax, rows, name, places, several):
            style.not_measured(ax, name)
        elif name in REFERENCES:
            ax.axhline(REFERENCES[name], **style.REFERENCE | {"color": "k"})
    style.legend_above(figure, axes)
    return figure


def best_fixed(rows: pd.DataFrame) -> pd.DataFrame:
    """The one row of the fixed exit that is fastest, of several training seeds the first; none where none was timed."""
    fixed = rows[(rows["kind"] == FIXED) & rows["speedup"].notna()]
    fixed = fixed[~fixed.duplicated([name for name in SETTINGS if name != "seed"])]
    return fixed.loc[[fixed["speedup"].idxmax()]] if len(fixed) else fixed


def _compared(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that stand beside one of a drafter with several heads."""
    several = rows.loc[rows["kind"] != FIXED, GROUP].drop_duplicates()
    return rows.merge(several, on=GROUP)


def _by_level(ax: Axes, rows: pd.DataFrame, name: str, places: Places, several: bool) -> bool:
    """The adaptive drafters' line over their levels; whatever has no level is a line across. False without any."""
    drawn = False
    adaptive = rows[(rows["kind"] == LEVELS) & rows[name].notna()].drop_duplicates(["drafter", *GROUP])
    lines = len(adaptive[[*ASKED]].drop_duplicates()) > 1
    for key, line in adaptive.groupby([*GROUP, *ASKED], sort=False):
        alike, asked = key[: len(GROUP)], [str(word) for word in key[len(GROUP) :]]
        said = ["adaptive early exit", *([" ".join(asked)] if lines else []), *([_said(alike)] if several else [])]
        _line(ax, line.sort_values("accuracy_level"), "accuracy_level", name, places, ", ".join(said))
        drawn = True
    best = rows[(rows["kind"] == BEST) & rows[name].notna()]
    for key, one in best.groupby([*GROUP, *ASKED], sort=False):
        alike, asked = key[: len(GROUP)], [str(word) for word in key[len(GROUP) :]]
        said = ["best level", *([" ".join(asked)] if lines else []), *([_said(alike)] if several else [])]
        _line(ax, one, "accuracy_level", name, places, ", ".join(said))
    for key, group in rows.groupby(GROUP, sort=False):
        for label, across in _across(group):
            value, low, high = (across.get(f"{name}{end}", np.nan) for end in ("", "_low", "_high"))
            if not np.isfinite(value):
                continue
            called = f"{label}, {_said(key)}" if several else label
            look = _look(places, called)
            ax.axhline(value, label=called, color=look["color"], linestyle=look["linestyle"])
            if np.isfinite(low) and np.isfinite(high):
                ax.axhspan(low, high, color=look["color"], alpha=0.12, linewidth=0)
            drawn = True
    return drawn


def _across(group: pd.DataFrame) -> Iterator[tuple[str, "pd.Series[Any]"]]:
    """What has no accuracy level: each dynamic drafter, and the best fixed exit."""
    for _, dynamic in group[group["kind"] == "dynamic"].drop_duplicates("drafter").iterrows():
        yield str(dynamic["drafter"]), dynamic
    for _, best in best_fixed(group).iterrows():
        yield f"best fixed exit (layer {best['layer']:g})", best


def _look(places: Places, label: str) -> dict[str, Any]:
    """Colour, line and marker of a label, the next ones if it is new."""
    place = places.setdefault(label, len(places))
    parts = {"color": style.PALETTE, "linestyle": style.LINES, "marker": style.MARKERS}
    return {name: choices[place % len(choices)] for name, choices in parts.items()}


def _line(ax: Axes, part: pd.DataFrame, x: str, name: str, places: Places, label: str) -> None:
    """A line with markers and the bars of its intervals."""
    look = _look(places, label)
    ax.plot(part[x], part[name], label=label, **look)
    if f"{name}_low" in part:
        style.intervals(ax, part[x], part[f"{name}_low"], part[f"{name}_high"], look["color"])


def _said(key: tuple[Any, ...]) -> str:
    policy, gamma, dataset, drafting = key
    return f"{policy}, gamma {gamma:g}, {dataset}" + (f", {drafting}" if drafting != "fixed" else "")
