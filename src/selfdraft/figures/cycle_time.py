"""Where the time of a cycle goes: draft, verify, accept and the rest, beside the prediction and a vanilla step."""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from selfdraft.figures import style
from selfdraft.figures.inputs import Inputs
from selfdraft.figures.series import kind, split

PHASES = {"draft_ms": "draft", "verify_ms": "verify", "accept_ms": "accept", "other_ms": "other"}
WITH_INTERVAL = ("draft_ms", "verify_ms")  # those of the two short phases would lie in one another
ENDS = ("", "_low", "_high")
MOST_COLUMNS = 3


def bars(ax: Axes, rows: pd.DataFrame) -> None:
    """A bar per row at its `place`, the phases end to end, and how many vanilla steps it lasts behind it."""
    have = rows.dropna(subset=list(PHASES))
    if have.empty:
        missing = [name for name in PHASES if rows[name].isna().all()]
        style.not_measured(ax, ", ".join(missing or PHASES))
        return
    at, begin = have["place"].to_numpy(float), np.zeros(len(have))
    reach = begin  # of the bars and their intervals
    for number, (name, called) in enumerate(PHASES.items()):
        value, low, high = (have[name + end].to_numpy(float) for end in ENDS)
        ax.barh(at, value, 0.76, left=begin, label=called, **kind(number).of_bars())
        if name in WITH_INTERVAL:
            style.intervals(ax, at, begin + low, begin + high, "k", "x", width=0.7, z=3)
            reach = np.fmax(reach, begin + high)
        begin = begin + value
    told = have["predicted_cycle_ms"].to_numpy(float)
    if np.isfinite(told).any():
        look: dict[str, Any] = {
            "linestyle": "",
            "marker": "|",
            "markersize": 9,
            "markeredgewidth": 1.2,
            "color": "k",
            "zorder": 3.5,
        }
        ax.plot(told, at, label="predicted draft + verify", **look)
    step = 1000.0 / float(have["vanilla_tps"].mean())  # all points of a policy share their vanilla runs
    if math.isfinite(step):
        ax.axvline(step, label="one vanilla step", **style.REFERENCE | {"color": "k", "zorder": 2.5})
        for place, cycle, end in zip(at, begin, np.fmax(reach, begin), strict=True):
            style.note(ax, f"{cycle / step:.1f}×", end, place, right=True)


def draw(inputs: Inputs) -> Figure:
    """A panel per policy, a bar per point; all to one scale."""
    rows = inputs.results()
    decoded = rows[rows["policy"] != ""]  # a draft that was not decoded with has no policy
    rows = rows if decoded.empty else decoded
    needed = ("vanilla_tps", "predicted_cycle_ms", *(name + end for name in PHASES for end in ENDS))
    rows = rows.reindex(columns=[*rows.columns, *(name for name in needed if name not in rows.columns)])
    made = split(rows, "policy")
    placed = pd.concat([series.rows.assign(place=place) for place, series in enumerate(made)])
    policies = [name for name in inputs.sweep.get("policy", rows["policy"].unique()) if name in set(rows["policy"])]
    columns = min(len(policies), MOST_COLUMNS)
    deep = -(-len(policies) // columns)
    width = style.COLUMN if columns == 1 else style.FULL
    height = 0.7 + deep * (0.25 + 0.14 * len(made))
    figure, axes = style.canvas(inputs.style, width, height, deep, columns, sharey=True)
    for ax, policy in zip(axes, policies, strict=False):
        bars(ax, placed[placed["policy"] == policy])
        ax.set_title(policy, fontsize="medium")
    for ax in axes[len(policies) :]:
        ax.set_axis_off()
    measured = [ax for ax in axes if ax.patches]
    for ax in measured:
        ax.set_xlim(0, 1.15 * max(other.dataLim.x1 for other in measured))
    axes[0].set_ylim(len(made) - 0.4, -0.6)
    axes[0].set_yticks(range(len(made)), [series.label for series in made])
    for ax in axes:
        ax.tick_params(axis="y", length=0)
    disturbed = style.disturbed_text(rows)
    figure.supxlabel("\n".join(["time per cycle, ms", *filter(None, [disturbed])]), fontsize="medium")
    if disturbed:
        figure.set_figheight(figure.get_figheight() + 0.4)
    phases = [bars for bars in axes[0].containers if bars.get_label() in PHASES.values()]
    style.legend_above(figure, axes, phases, handlelength=2.4)
    return figure
