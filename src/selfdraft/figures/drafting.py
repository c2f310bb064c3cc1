"""Ways of drafting side by side: accepted_mean, speed-up and drafting time per cycle of each point."""

import pandas as pd
from matplotlib.figure import Figure

from selfdraft.figures import style
from selfdraft.figures.bars import grouped, name_rows
from selfdraft.figures.inputs import FIXED, Inputs
from selfdraft.figures.quantities import along
from selfdraft.figures.series import Series, kind, split

PANELS = ("accepted_mean", "speedup", "draft_ms")


def draw(inputs: Inputs) -> Figure:
    """Three panels; a group of bars per point, the points below each other, and a bar per way of drafting."""
    points = split(inputs.results(), "drafting")
    rows = pd.concat([series.rows.assign(point=place) for place, series in enumerate(points)])
    asked = inputs.sweep.get("drafting", [])
    ways = sorted(rows["drafting"].unique(), key=lambda way: (asked.index(way) if way in asked else way != FIXED, way))
    made = [Series(way, kind(place), rows[rows["drafting"] == way]) for place, way in enumerate(ways)]
    height = 0.75 + len(points) * max(0.11 * len(ways) + 0.05, 0.2)
    figure, axes = style.canvas(inputs.style, style.FULL, height, columns=3, sharey=True)
    for ax, name in zip(axes, PANELS, strict=True):
        ax.set_xlabel(along(name))
        drawn = grouped(ax, made, name, "point", range(len(points)), sideways=True)
        if drawn and name == "speedup":
            ax.axvline(1.0, **style.REFERENCE | {"color": "k", "zorder": 2.5})
    for ax in axes:  # the panels share the rows: named last, as a panel without values clears its ticks
        name_rows(ax, [series.label for series in points])
    style.legend_above(figure, axes)
    style.note_disturbed(figure, rows)
    return figure
