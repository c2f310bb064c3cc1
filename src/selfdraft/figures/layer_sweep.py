"""Quality against the exit layer: KL, perplexity and top-1, with the teacher's own value as a line."""

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from selfdraft.figures import style
from selfdraft.figures.inputs import Inputs
from selfdraft.figures.quantities import upright
from selfdraft.figures.series import OF_DECODING, lines, split


def teacher_line(ax: Axes, value: float) -> None:
    """The teacher's own value, if it was measured."""
    if math.isfinite(value):
        ax.axhline(value, label="teacher", **style.REFERENCE)


def teacher(rows: pd.DataFrame, column: str) -> float:
    """The teacher's value; one number, as all checkpoints are measured on the same tokens."""
    return float(rows[column].mean()) if column in rows else math.nan


def draw(inputs: Inputs) -> Figure:
    """Three panels over the layer; a line per capacity (and per T or seed if the sweep has several)."""
    rows = inputs.results()
    made = split(rows, "layer", ignore=OF_DECODING)
    figure, axes = style.canvas(inputs.style, style.FULL, 2.2, columns=3)
    values = {
        "kl": 0.0,
        "perplexity": math.exp(teacher(rows, "teacher_ce")),
        "top1": teacher(rows, "teacher_top1"),
    }
    for ax, (name, reference) in zip(axes, values.items(), strict=True):
        ax.set(xlabel="exit layer", ylabel=upright(name))
        if lines(ax, made, "layer", name):
            teacher_line(ax, reference)
            if name == "perplexity":
                style.log_axis(ax)
            else:
                ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]) if name == "kl" else 0.0)
    style.legend_above(figure, axes)
    return figure
