"""Predicted speed-up against the draft length on one machine: a panel a policy, a line a draft."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from selfdraft.figures import style
from selfdraft.statistics.predictions import Prediction

MOST = 6  # drafts in a panel: the best ones


def draw(found: Sequence[Prediction], overrides: style.Style, machine: str) -> Figure:
    """`found` is best first, of one data set; markers are filled where a length was run, and open where it was not."""
    policies = list(dict.fromkeys(one.settings["policy"] for one in found))
    figure, axes = style.canvas(overrides, style.FULL, 2.8, columns=len(policies), sharey=True)
    names = list(dict.fromkeys(one.name for one in found))[:MOST]
    for ax, policy in zip(axes, policies, strict=True):
        for place, name in enumerate(names):
            line = sorted(
                (one for one in found if one.name == name and one.settings["policy"] == policy),
                key=lambda one: one.gamma,
            )
            if not line:
                continue
            color, marker = style.PALETTE[place], style.MARKERS[place]
            x = np.array([one.gamma for one in line], dtype=float)
            y, low, high = (
                np.array([np.nan if (v := getattr(one.speedup, end)) is None else v for one in line], dtype=float)
                for end in ("value", "low", "high")
            )
            run = np.array([one.how == "run" for one in line])
            ax.plot(x, y, color=color, linestyle=style.LINES[place], zorder=2)
            ax.plot(x[run], y[run], color=color, marker=marker, linestyle="", label=name)
            ax.plot(x[~run], y[~run], color=color, marker=marker, linestyle="", markerfacecolor="white", zorder=3)
            style.intervals(ax, x, low, high, color)
        ax.axhline(1.0, **style.REFERENCE)
        ax.set(xlabel="drafted tokens per cycle (gamma)", title=policy)
        style.ticks_at(ax, {one.gamma for one in found})
    axes[0].set_ylabel(f"predicted speedup on {machine}")
    style.legend_above(figure, axes)
    return figure
