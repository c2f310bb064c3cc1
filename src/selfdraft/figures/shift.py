"""Acceptance along a stream that changes to other prompts: of drafts that learn, and of one that does not."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from selfdraft.figures import style
from selfdraft.figures.inputs import Inputs
from selfdraft.figures.online import TOLD, banded
from selfdraft.figures.quantities import upright


def draw(inputs: Inputs) -> Figure:
    """One panel; each marker stands in the middle of the prompts that it is the mean of, over the name of their set."""
    rows = inputs.table("online.csv", TOLD, (), ("prompts", "accepted_mean"))
    stream = rows[rows["part"] == "stream"]
    changing = stream.groupby("learner", sort=False)["dataset"].transform("nunique") > 1
    figure, (ax,) = style.canvas(inputs.style, style.COLUMN, 2.3)
    ax.set(xlabel="prompts served", ylabel=upright("accepted_mean"))
    if not changing.any():
        style.not_measured(ax, "a stream that changes")
        return figure
    for place, (name, line) in enumerate(stream[changing].groupby("learner", sort=False)):
        ends = line["prompts"].to_numpy(float)
        middles = pd.Series((ends + np.concatenate(([0.0], ends[:-1]))) / 2)
        banded(ax, line.reset_index(drop=True), middles, place, str(name))
    begin = 0.0
    for data, end in stream[changing].groupby("dataset", sort=False)["prompts"].max().items():
        if begin:
            ax.axvline(begin, **style.REFERENCE)
        ax.text((begin + end) / 2, 0.98, str(data), transform=ax.get_xaxis_transform(), ha="center", va="top")
        begin = float(end)
    ax.set_xlim(0, begin)
    ax.set_ylim(0, 1.8 * stream[changing]["accepted_mean"].max() or None)  # bands of two or three seeds are wide
    style.legend_above(figure, [ax])
    return figure
