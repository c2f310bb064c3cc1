"""Acceptance against training tokens: what a drafter with a layer of its own has learnt, a line a drafter."""

from typing import Any

from matplotlib.figure import Figure

from selfdraft.figures import style
from selfdraft.figures.inputs import Inputs
from selfdraft.figures.quantities import upright

NAME = "validation_accepted"


def draw(inputs: Inputs) -> Figure:
    """One panel; a marker for each look at the validation text, the first one before any training."""
    figure, (ax,) = style.canvas(inputs.style, style.COLUMN, 2.3)
    ax.set(xlabel="training tokens, thousands", ylabel=upright(NAME))
    lines = {log.name: log.lines.dropna(subset=["tokens", NAME]) for log in inputs.logs(("tokens", NAME))}
    lines = {name: known for name, known in lines.items() if len(known)}
    if not lines:
        look: dict[str, Any] = {"transform": ax.transAxes, "ha": "center", "va": "center", "color": "0.4"}
        ax.text(0.5, 0.5, "no trained drafter in this study", **look)
        ax.set(xticks=[], yticks=[])
        return figure
    for place, (name, known) in enumerate(lines.items()):
        color = style.PALETTE[place % len(style.PALETTE)]
        line, marker = style.LINES[place % len(style.LINES)], style.MARKERS[place % len(style.MARKERS)]
        ax.plot(known["tokens"] / 1e3, known[NAME], label=name, color=color, linestyle=line, marker=marker)
    ax.set_ylim(bottom=0)
    ax.set_xlim(left=0)
    style.legend_above(figure, [ax])
    return figure
