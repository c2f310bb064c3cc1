"""Every way to draft at its best setting: accepted tokens and speed-up, a row a method, a marker a data set."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from selfdraft.figures import style
from selfdraft.figures.bars import name_rows
from selfdraft.figures.inputs import Inputs
from selfdraft.figures.quantities import along
from selfdraft.figures.series import Look, kind
from selfdraft.statistics.columns import SETTINGS
from selfdraft.statistics.methods import setting_text

PANELS = ("accepted_mean", "speedup")
ELSE = {"speedup": "predicted_speedup"}  # drawn, with open markers, where the first was not measured
ENDS = ("", "_low", "_high")
METHOD = ("method", "policy")


def marks(ax: Axes, at: Any, rows: pd.DataFrame, name: str, look: Look, filled: bool) -> Any:
    """A marker and its interval for each row that has `name`; returns which have it, bool [rows]."""
    value, low, high = (
        rows[name + end].to_numpy(float) if name + end in rows else np.full(len(rows), np.nan) for end in ENDS
    )
    known = np.isfinite(value)
    face = look.color if filled else "white"
    if known.any():
        ax.plot(value[known], at[known], linestyle="", **look.of_markers() | {"markerfacecolor": face})
    style.intervals(ax, at[known], low[known], high[known], look.color, "x")
    return known


def panel(ax: Axes, rows: pd.DataFrame, sets: Sequence[str], name: str) -> bool:
    """All methods of one panel; False if it has no value. What is missing of a method is said at its place."""
    drawn = np.zeros(len(rows), dtype=bool)
    for number, dataset in enumerate(sets):
        part = (rows["dataset"] == dataset).to_numpy()
        at, look = rows["at"].to_numpy(float)[part], kind(number)
        known = marks(ax, at, rows[part], name, look, filled=True)
        if name in ELSE:
            told = marks(ax, at[~known], rows[part][~known], ELSE[name], look, filled=False)
            known[~known] = told
        drawn[part] = known
    if not drawn.any():
        style.not_measured(ax, name)
        return False
    ax.set_xlim(left=0)
    for _, missing in rows[~drawn].groupby("place"):
        said: dict[str, Any] = {
            "transform": ax.get_yaxis_transform(),
            "va": "center",
            "color": "0.5",
            "fontsize": "xx-small",
        }
        ax.text(0.01, missing["at"].mean(), f"{', '.join(missing['dataset'])}: not measured", **said)
    return True


def placed(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the `place` of their method, the fastest of a policy on top, and where `at` their marker stands."""
    best = rows.groupby(list(METHOD), sort=False)[["speedup", "accepted_mean"]].max().reset_index()
    policies = list(dict.fromkeys(best["policy"]))
    best = best.assign(order=best["policy"].map(policies.index))
    best = best.sort_values(["order", "speedup", "accepted_mean"], ascending=[True, False, False], kind="stable")
    rows = rows.merge(best[list(METHOD)].assign(place=range(len(best))), on=list(METHOD))
    of_method = rows.groupby("place")["dataset"]
    number, count = of_method.cumcount(), of_method.transform("size")
    return rows.assign(at=rows["place"] + 0.7 * (number.astype(float) - (count - 1) / 2) / rows["dataset"].nunique())


def draw(inputs: Inputs) -> Figure:
    """Two panels that share the rows; the study's own data set is the topmost marker of each."""
    texts = ("method", *SETTINGS, "chosen_by")
    rows = placed(inputs.table("methods.csv", texts, (), ("accepted_mean", "speedup", "predicted_speedup")))
    sets = list(dict.fromkeys(rows["dataset"]))
    first = rows.drop_duplicates("place").sort_values("place")
    height = 0.8 + len(first) * max(0.11 * len(sets) + 0.04, 0.27)
    figure, axes = style.canvas(inputs.style, style.FULL, height, columns=2, sharey=True)
    for ax, name in zip(axes, PANELS, strict=True):
        ax.set_xlabel(along(name))
        if panel(ax, rows, sets, name) and name == "speedup":
            ax.axvline(1.0, **style.REFERENCE | {"color": "k"})
        for place in range(1, len(first)):
            ax.axhline(place - 0.5, color="0.9", linewidth=0.5, zorder=0.5)
    several = first["policy"].nunique() > 1
    methods = first["method"].str.replace("early_exit", "early exit,")
    records: list[Any] = first.to_dict("records")
    settings = (setting_text(row, several) for row in records)
    names = [f"{method}\n{setting}" for method, setting in zip(methods, settings, strict=True)]
    for ax in axes:  # the panels share the rows: named last, as a panel without values clears its ticks
        name_rows(ax, names)
    named = [Line2D([], [], linestyle="", label=name, **kind(n).of_markers()) for n, name in enumerate(sets)]
    if (rows["predicted_speedup"].notna() & rows["speedup"].isna()).any():
        look: dict[str, Any] = {"color": "0.3", "marker": "o", "markerfacecolor": "white", "linestyle": ""}
        named.append(Line2D([], [], label="predicted, not timed", **look))
    style.legend_above(figure, handles=named, handlelength=1.2)
    return figure
