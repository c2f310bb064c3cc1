"""Speed-up against KL: what a better draft costs and gains; points are labelled by exit layer."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from selfdraft.figures import style
from selfdraft.figures.inputs import Inputs
from selfdraft.figures.labels import Box, Label, place
from selfdraft.figures.quantities import along
from selfdraft.figures.series import Series, split


def layer_labels(made: Sequence[Series], near: float) -> Iterator[Label]:
    """A label for the topmost of the points of one layer that lie within `near` of each other in KL."""
    points = [
        (float(x), float(y), f"{layer:g}", series.look.color)
        for series in made
        for x, y, layer in zip(series.values("kl")[0], series.values("speedup")[0], series.rows["layer"], strict=True)
        if np.isfinite(x) and np.isfinite(y)
    ]
    done: list[tuple[float, str]] = []
    for x, y, text, color in sorted(points, key=lambda point: -point[1]):
        if not any(text == other and abs(x - at) <= near for at, other in done):
            done.append((x, text))
            yield Label(x, y, text, color)


def steps_along(x: Any, y: Any) -> Iterator[Box]:
    """Small steps of the line through the points: labels keep clear of it too."""
    for i in range(len(x) - 1):
        for part in np.linspace(0.0, 1.0, 25):
            at = (float(x[i] + part * (x[i + 1] - x[i])), float(y[i] + part * (y[i + 1] - y[i])))
            yield (*at, *at)


def draw(inputs: Inputs) -> Figure:
    """One panel; a thin line joins the exit layers of one capacity and policy."""
    rows = inputs.results()
    made = split(rows, "layer")
    crowded = max(len(series.rows) for series in made) > 8
    width, height = (style.FULL, 3.2) if crowded else (style.COLUMN, 2.75)
    figure, (ax,) = style.canvas(inputs.style, width, height)
    ax.set(xlabel=along("kl"), ylabel=along("speedup"))
    boxes: list[Box] = []
    for series in made:
        x, x_low, x_high = series.values("kl")
        y, y_low, y_high = series.values("speedup")
        known = np.isfinite(x) & np.isfinite(y)
        if not known.any():
            continue
        look = series.look.of_markers() | {"linestyle": series.look.line, "linewidth": 0.6, "zorder": 2.1}
        ax.plot(x[known], y[known], label=series.label, **look)
        style.intervals(ax, x[known], y_low[known], y_high[known], series.look.color)
        style.intervals(ax, y[known], x_low[known], x_high[known], series.look.color, axis="x")
        boxes += steps_along(x[known], y[known])
        # an interval that is missing covers its point alone
        boxes += zip(x[known], np.fmin(y_low, y)[known], x[known], np.fmax(y_high, y)[known], strict=True)
        boxes += zip(np.fmin(x_low, x)[known], y[known], np.fmax(x_high, x)[known], y[known], strict=True)
    if not boxes:
        style.not_measured(ax, "speedup against KL")
        return figure
    ax.axhline(1.0, **style.REFERENCE)
    ax.margins(0.08)
    style.legend_above(figure, [ax])
    style.note_disturbed(figure, rows)
    left, right = ax.get_xlim()
    place(figure, ax, list(layer_labels(made, 0.03 * (right - left))), boxes)
    return figure
