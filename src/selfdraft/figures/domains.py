"""The same drafts on the study's own text and on other text: KL, top-1 and accepted_mean by data set."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from selfdraft.figures import style
from selfdraft.figures.bars import grouped, name_rows
from selfdraft.figures.inputs import Inputs
from selfdraft.figures.panels import in_order
from selfdraft.figures.quantities import along
from selfdraft.figures.series import OF_DECODING, Look, Series, split
from selfdraft.statistics.columns import CHECKPOINT, SETTINGS

PANELS = ("kl", "top1", "accepted_mean")
DRAFT = [name for name in CHECKPOINT if name != "dataset"]
POINT = [name for name in SETTINGS if name != "dataset"]


def elsewhere_too(rows: pd.DataFrame, own: str, settings: list[str]) -> pd.DataFrame:
    """The rows whose settings were measured on some other data set than `own`; all if there is no other one."""
    others = rows.loc[rows["dataset"] != own, settings].drop_duplicates()
    return rows if others.empty else rows.merge(others, on=settings)


def of_panel(rows: pd.DataFrame, own: str, name: str) -> list[Series]:
    """The bars of one panel: a draft each for quality, a point (draft, policy, gamma, drafting) each for acceptance."""
    of_quality = name != "accepted_mean"
    if name not in rows:
        return []
    chosen = elsewhere_too(rows, own, DRAFT if of_quality else POINT).dropna(subset=[name])
    if chosen.empty:
        return []
    of_others = chosen["drafter"].where(chosen["layer"].isna(), "")  # trained ones are called by their capacity
    made = split(chosen.assign(drafter=of_others), "dataset", OF_DECODING if of_quality else ())
    return [replace(series, label=named(series)) for series in made]


def named(series: Series) -> str:
    """The label of a series, with what was trained in front also where it is the same for all trained drafts."""
    capacity = str(series.rows["capacity"].iloc[0])
    words = series.label.split(", ") if series.label else []
    return ", ".join(words if capacity in ("", *words) else [capacity, *words])


def draft_of(series: Series) -> tuple[Any, ...]:
    """What tells drafts apart, the same in all panels."""
    return tuple("" if value != value else value for value in series.rows[DRAFT].iloc[0])


def mark_missing(ax: Axes, made: Sequence[Series], sets: Sequence[str]) -> None:
    """Say at each data set that has no bar that it was not measured: an empty place would look like zero."""
    have = {name for series in made for name in series.rows["dataset"]}
    for place, name in enumerate(sets):
        if name not in have:
            look: dict[str, Any] = {
                "transform": ax.get_yaxis_transform(),
                "va": "center",
                "color": "0.4",
                "fontsize": "x-small",
            }
            ax.text(0.02, place, "not measured", **look)


def mark_teacher(ax: Axes, rows: pd.DataFrame, sets: Sequence[str]) -> None:
    """The target's own top-1 on each data set: a line across the bars of the group."""
    if "teacher_top1" not in rows:
        return
    values = rows.groupby("dataset")["teacher_top1"].mean().reindex(list(sets)).to_numpy(float)
    at = np.flatnonzero(np.isfinite(values))
    look: dict[str, Any] = {"colors": "k", "linewidth": 1.0, "linestyle": (0, (4, 2)), "zorder": 2.5}
    ax.vlines(values[at], at - 0.45, at + 0.45, label="teacher", **look)


def draw(inputs: Inputs) -> Figure:
    """Three panels; a group of bars per data set, the study's own on top, and a bar per draft."""
    rows = inputs.results()
    asked = [str(name) for name in inputs.sweep.get("dataset", [])]
    sets = in_order([*asked, *rows["dataset"]], asked)
    panels = {name: of_panel(rows, sets[0], name) for name in PANELS}
    # a draft looks the same in all panels: as its first policy does where it is decoded with
    looks: dict[tuple[Any, ...], Look] = {}
    for series in panels["accepted_mean"]:
        looks.setdefault(draft_of(series), series.look)
    bars = max((len(made) for made in panels.values()), default=1)
    height = 0.75 + len(sets) * max(0.11 * bars + 0.08, 0.24)
    figure, axes = style.canvas(inputs.style, style.FULL, height, columns=3, sharey=True)
    for ax, name in zip(axes, PANELS, strict=True):
        ax.set_xlabel(along(name))
        made = panels[name]
        if name != "accepted_mean":
            made = [replace(series, look=looks.get(draft_of(series), series.look)) for series in made]
        if grouped(ax, made, name, "dataset", sets, sideways=True):
            mark_missing(ax, made, sets)
            if name == "top1":
                mark_teacher(ax, rows, sets)
    for ax in axes:  # the panels share the rows: named last, as a panel without values clears its ticks
        name_rows(ax, [f"{name}\n(in domain)" if asked and place == 0 else name for place, name in enumerate(sets)])
    # the panels of quality, free of the policy, borrow the looks of the first policy, and its entry in the legend
    labelled = next((ax for ax in reversed(axes) if ax.patches), axes[0])
    teacher = [lines for lines in axes[1].collections if lines.get_label() == "teacher"]
    style.legend_above(figure, handles=[*labelled.get_legend_handles_labels()[0], *teacher])
    return figure
