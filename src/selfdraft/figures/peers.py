"""The same methods in several implementations: tokens per second, and the ratio to transformers."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from selfdraft.figures import style
from selfdraft.figures.bars import grouped, name_groups, places
from selfdraft.figures.inputs import Inputs
from selfdraft.figures.panels import by_name, by_run, in_order, looks
from selfdraft.figures.quantities import along
from selfdraft.figures.series import Series

METHODS = ("vanilla", "early exit", "prompt lookup", "draft model")
IMPLEMENTATIONS = ("selfdraft", "transformers", "economize")
RATE, RATIO = "tokens_per_second", "ratio_to_transformers"


def ratios(ax: Axes, made: Sequence[Series], methods: Sequence[str]) -> None:
    """Write the ratio to transformers above the bars of the others, such as 0.87×, 2.3× or 12×."""
    for index, series in enumerate(made):
        if series.label == "transformers":
            continue
        value, _, high = series.values(RATE)
        ratio, at = series.values(RATIO)[0], places(series, "method", methods, index, len(made))
        for x, top, times in zip(at, np.fmax(value, high), ratio, strict=True):
            if math.isfinite(top) and math.isfinite(times):
                style.note(ax, f"{times:.{0 if times >= 10 else 1 if times >= 1 else 2}f}×", x, top)


def draw(inputs: Inputs) -> Figure:
    """A panel per number format and batch size; a group of bars per method, a bar per implementation."""
    rows = inputs.table("peers.csv", ("method", "implementation", "dtype"), ("batch",), (RATE, RATIO))
    shown = looks(rows["implementation"], IMPLEMENTATIONS)
    panels = by_run(rows)
    columns = min(len(panels), 2)
    deep = -(-len(panels) // columns)
    width = style.COLUMN if columns == 1 else style.FULL
    figure, axes = style.canvas(inputs.style, width, 0.4 + 1.9 * deep, deep, columns)
    for ax, (title, part) in zip(axes, panels, strict=False):
        measured = part.dropna(subset=[RATE])
        methods = in_order(measured["method"], METHODS)
        made = by_name(measured, "implementation", shown)
        ax.set_title(title, fontsize="medium")
        ax.set_ylabel(along(RATE))
        if grouped(ax, made, RATE, "method", methods):
            name_groups(ax, [method.replace(" ", "\n") for method in methods])
            ratios(ax, made, methods)
            ax.margins(y=0.12)
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    style.legend_above(figure, axes)
    return figure
