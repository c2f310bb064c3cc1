"""How many draft tokens a cycle accepts: one small histogram per exit layer and capacity."""

from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from selfdraft.errors import StudyError
from selfdraft.figures import style
from selfdraft.figures.inputs import Inputs
from selfdraft.figures.series import Series, capacities, split
from selfdraft.statistics.bootstrap import Bootstrap, Estimate
from selfdraft.statistics.columns import SETTINGS

MOST_COLUMNS = 8


def shares(rows: pd.DataFrame, gamma: int, bootstrap: Bootstrap) -> list[Estimate]:
    """The share of cycles that accept 0 … gamma draft tokens, with intervals over prompts."""
    cycles = rows.groupby("prompt", sort=True).size()
    point = "/".join(str(rows[name].iloc[0]) for name in SETTINGS)
    return [
        bootstrap.ratio(
            rows["accepted"].eq(k).groupby(rows["prompt"], sort=True).sum(),
            cycles,
            (point, f"share_{k}"),
            "prompts",
        )
        for k in range(gamma + 1)
    ]


def histogram(ax: Axes, made: list[Series], bootstrap: Bootstrap) -> None:
    """Bars of all series of one panel, beside each other at each number of accepted tokens."""
    width = 0.86 / len(made)
    for index, series in enumerate(made):
        gamma = int(series.rows["gamma"].max())
        found = shares(series.rows, gamma, bootstrap)
        value, low, high = (
            np.array([np.nan if x is None else x for x in ends])
            for ends in zip(*((e.value, e.low, e.high) for e in found), strict=True)
        )
        at = np.arange(gamma + 1) + width * (index - (len(made) - 1) / 2)
        ax.bar(at, value, width * 0.94, label=series.label, **series.look.of_bars())
        style.intervals(ax, at, low, high, "k", width=0.6, z=3)


def draw(inputs: Inputs) -> Figure:
    """The panels of one capacity stand in one row (or several, if layers are many); axes are shared."""
    rows = inputs.acceptance()
    rows = rows[rows["cut"] == 0].dropna(subset=["accepted"])
    if rows.empty:
        raise StudyError(f"{inputs.acceptance_path}: column cut: all cycles of the sweep are cut short")
    layers = sorted(float(layer) for layer in rows["layer"].unique())
    names = capacities(rows)
    columns = min(len(layers), MOST_COLUMNS)
    deep = -(-len(layers) // columns)  # rows of panels per capacity
    width = style.FULL if columns > 2 else style.COLUMN
    height = 0.6 + 1.0 * deep * len(names)
    figure, axes = style.canvas(inputs.style, width, height, deep * len(names), columns, sharex=True, sharey=True)
    made = split(rows, "layer")
    for place, ax in enumerate(axes):
        capacity, number = names[place // (columns * deep)], place % (columns * deep)
        if number >= len(layers):
            ax.set_axis_off()
            continue
        parts = [
            replace(series, rows=part)
            for series in made
            if not (
                part := series.rows[(series.rows["layer"] == layers[number]) & (series.rows["capacity"] == capacity)]
            ).empty
        ]
        ax.text(0.98, 1.03, f"layer {layers[number]:g}", transform=ax.transAxes, ha="right", va="bottom")
        if parts:
            histogram(ax, parts, Bootstrap(**inputs.statistics))
        style.ticks_at(ax, range(int(rows["gamma"].max()) + 1))
    axes[0].set_ylim(0.0, 1.0)
    figure.supxlabel("accepted draft tokens in a cycle", fontsize="medium")
    figure.supylabel("share of cycles", fontsize="medium")
    style.legend_above(figure, axes)
    return figure
