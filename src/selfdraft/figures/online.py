"""Acceptance against prompts seen, of drafts that learn while they decode: a line an objective, a band over seeds."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from selfdraft.figures import style
from selfdraft.figures.inputs import Inputs
from selfdraft.figures.quantities import upright

TOLD = ("learner", "part", "dataset", "prompts")
EQUAL = {"equal_data": ("o", "equal data"), "equal_seconds": ("s", "equal seconds")}


def draw(inputs: Inputs) -> Figure:
    """One panel of the looks at held-out prompts; exits that were trained before are lines across it. Where a line has
    served as many tokens as the first of them was trained on, or has learnt for as many seconds, it has a hollow mark.

    Lines whose stream changes are those of figure `shift`, and here only where there are no others.
    """
    rows = inputs.table("online.csv", TOLD, (), ("prompts", "accepted_mean"))
    figure, (ax,) = style.canvas(inputs.style, style.COLUMN, 2.45)
    ax.set(xlabel="prompts seen", ylabel=upright("accepted_mean"))
    sets = rows[rows["part"] == "stream"].groupby("learner")["dataset"].nunique()
    steady = ~rows["learner"].isin(sets.index[sets > 1])
    looks = rows[rows["part"] == "held_out"]
    alone = steady[looks.index]
    looks = looks[alone] if alone.any() else looks
    for place, (name, line) in enumerate(looks.groupby("learner", sort=False)):
        banded(ax, line, line["prompts"], place, str(name))
    beside = rows[rows["part"] == "beside"]
    for place, (_, exit_) in enumerate(beside.iterrows()):
        name = f"{exit_['learner']}, trained before" if len(beside) > 1 else "trained before"
        look = style.REFERENCE | {"linestyle": style.LINES[(place + 1) % len(style.LINES)]}
        ax.axhline(exit_["accepted_mean"], label=name, **look)
    for part, (marker, label) in EQUAL.items():
        there = rows[(rows["part"] == part) & rows["learner"].isin(looks["learner"])].dropna(
            subset=["prompts", "accepted_mean"]
        )
        if len(there):
            hollow = {"facecolor": "none", "edgecolor": style.REFERENCE["color"], "linewidth": 0.6}
            ax.scatter(there["prompts"], there["accepted_mean"], s=28, marker=marker, label=label, zorder=3, **hollow)
    ax.set_xlim(left=0)
    ax.set_ylim(bottom=0)
    style.legend_above(figure, [ax])
    return figure


def banded(ax: Axes, line: pd.DataFrame, x: "pd.Series[float]", place: int, name: str) -> None:
    """A line of `accepted_mean` at `x`, with the band of its interval where it has one."""
    color, marker = style.PALETTE[place % len(style.PALETTE)], style.MARKERS[place % len(style.MARKERS)]
    ax.plot(
        x,
        line["accepted_mean"],
        label=name,
        color=color,
        marker=marker,
        linestyle=style.LINES[place % len(style.LINES)],
    )
    if {"accepted_mean_low", "accepted_mean_high"} <= set(line.columns):
        ax.fill_between(x, line["accepted_mean_low"], line["accepted_mean_high"], color=color, alpha=0.18, linewidth=0)
