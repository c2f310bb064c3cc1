"""Where nothing verifies what heads say: agreement against speed, and the promised beside the observed risk."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from selfdraft.figures import style
from selfdraft.figures.inputs import Inputs

FIXED, ADAPTIVE = "fixed_exit", "lossy_adaptive"
NAMED = {FIXED: "fixed exit (its layer)", ADAPTIVE: "lossy adaptive (its level)"}
NEAR = (0.1, 0.05)  # of the axes: names of markers that are no further apart would cover each other
RISKS = {"observed_risk": "second split of held-out answers", "disagreement": "text that the heads wrote"}


def draw(inputs: Inputs) -> Figure:
    """Two panels: agreement of each way against its speedup; observed risks over the promised ones."""
    texts = ("drafter", "mode", "layer", "accuracy_level", "dataset")
    measured = ("speedup", "disagreement", "promised_risk", "observed_risk")
    rows = inputs.table("unverified.csv", texts, (), measured)
    several = rows["drafter"].nunique() > 1
    figure, (trade, risk) = style.canvas(inputs.style, style.FULL, 2.8, 1, 2)
    trade.set(xlabel="speedup over vanilla decoding", ylabel="tokens that are the target's best")
    risk.set(xlabel="promised risk", ylabel="observed risk")
    place, looks = 0, {}
    points: list[tuple[float, float, str]] = []
    for drafter in rows["drafter"].unique():
        for mode in (ADAPTIVE, FIXED):
            part = rows[(rows["drafter"] == drafter) & (rows["mode"] == mode)].dropna(subset=["speedup"])
            label = f"{drafter}, {NAMED[mode]}" if several else NAMED[mode]
            points += _trade(trade, part, place, label)
            place += 1
        looks[drafter] = rows[(rows["drafter"] == drafter) & (rows["mode"] == ADAPTIVE)]
    if not trade.has_data():
        style.not_measured(trade, "speedup")
    else:
        trade.plot([1.0], [1.0], marker="*", linestyle="", color="k", label="the target alone")
        trade.set_ylim(top=1.03)
        _call(trade, points)
    drawn = [_risks(risk, part, f"{name}, " if several else "", 2 * n) for n, (name, part) in enumerate(looks.items())]
    if any(drawn):
        risk.axline((0, 0), slope=1, **style.REFERENCE)
        risk.set_xlim(left=0)
        risk.set_ylim(bottom=0)
    else:
        style.not_measured(risk, "a promised level")
    style.legend_above(figure, [trade, risk])
    return figure


def _trade(ax: Axes, part: pd.DataFrame, place: int, label: str) -> list[tuple[float, float, str]]:
    """A marker a way with the bars of both its intervals; where the markers stand and what they are called."""
    if part.empty:
        return []
    part = part.sort_values("speedup")
    color = style.PALETTE[place % len(style.PALETTE)]
    marks: dict[str, Any] = {"marker": style.MARKERS[place % len(style.MARKERS)], "color": color}
    agreement = 1.0 - part["disagreement"]
    ax.plot(part["speedup"], agreement, label=label, linestyle="-" if place % 2 == 0 else "", **marks)
    if "speedup_low" in part:
        style.intervals(ax, agreement, part["speedup_low"], part["speedup_high"], color, "x")
    if "disagreement_low" in part:
        style.intervals(ax, part["speedup"], 1 - part["disagreement_high"], 1 - part["disagreement_low"], color)
    called = part["accuracy_level"].where(part["accuracy_level"] != "", part["layer"].map("{:g}".format))
    return list(dict.fromkeys(zip(part["speedup"], agreement, called, strict=True)))


def _call(ax: Axes, points: Sequence[tuple[float, float, str]]) -> None:
    """Names beside the markers; of markers so near that names would cover each other one alone has its name."""
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    named: list[tuple[float, float]] = []
    for x, y, name in sorted(points, key=lambda point: (-point[1], point[0])):
        at = ((x - left) / (right - left), (y - bottom) / (top - bottom))
        if all(abs(at[0] - other[0]) > NEAR[0] or abs(at[1] - other[1]) > NEAR[1] for other in named):
            named.append(at)
            ax.annotate(str(name), (x, y), xytext=(5, 4), textcoords="offset points", fontsize="x-small")


def _risks(ax: Axes, part: pd.DataFrame, said: str, place: int) -> bool:
    """What was seen at each promised risk; False if nothing was."""
    found = False
    for number, (name, label) in enumerate(RISKS.items(), start=place):
        known = part[np.isfinite(part[name])].sort_values("promised_risk")
        if known.empty:
            continue
        color = style.PALETTE[(number + 2) % len(style.PALETTE)]
        marks: dict[str, Any] = {"marker": style.MARKERS[number % len(style.MARKERS)], "color": color}
        ax.plot(known["promised_risk"], known[name], label=said + label, linestyle=style.LINES[number % 8], **marks)
        if f"{name}_low" in known:
            style.intervals(ax, known["promised_risk"], known[f"{name}_low"], known[f"{name}_high"], color)
        found = True
    return found
