"""Head alone against head + last block: KL, accepted_mean and speed-up, side by side at each layer."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from selfdraft.figures import style
from selfdraft.figures.inputs import Inputs
from selfdraft.figures.series import Series, lines, split

MOST_GROUPS = 8  # with more layers, bars are too thin: points and lines instead
PANELS = {
    "kl": "kl (nats/token)",
    "accepted_mean": "accepted_mean (tokens/cycle)",
    "speedup": "speedup (× vanilla)",
}


def bars(ax: Axes, made: list[Series], name: str) -> bool:
    """Groups of bars with intervals, a group per layer; False if nothing was measured."""
    layers = sorted({float(layer) for series in made for layer in series.rows["layer"].dropna()})
    width = 0.8 / len(made)
    drawn = False
    for index, series in enumerate(made):
        value, low, high = series.values(name)
        known = np.isfinite(value)
        if not known.any():
            continue
        drawn = True
        at = np.array([layers.index(float(layer)) for layer in series.rows["layer"][known]])
        at = at + width * (index - (len(made) - 1) / 2)
        ax.bar(at, value[known], width * 0.92, label=series.label, **series.look.of_bars())
        style.intervals(ax, at, low[known], high[known], "k", width=0.7, z=3)
    if drawn:
        name_small_bars(ax)
        ax.set_xticks(range(len(layers)), [f"{layer:g}" for layer in layers])
        ax.set_xlim(-0.6 - 0.4 * (len(layers) == 1), len(layers) - 0.4 + 0.4 * (len(layers) == 1))
        ax.tick_params(axis="x", length=0)
    else:
        style.not_measured(ax, name)
    return drawn


def name_small_bars(ax: Axes) -> None:
    """Write the value over a bar too low to be seen, so that it is not taken for a missing one."""
    top = ax.get_ylim()[1]
    for bar in ax.patches:
        if isinstance(bar, Rectangle) and bar.get_height() < 0.015 * top:
            at = (bar.get_x() + bar.get_width() / 2, bar.get_height())
            text = f"{round(bar.get_height(), 3):.2g}"
            ax.annotate(text, at, (0, 2), textcoords="offset points", ha="center", fontsize="x-small")


def draw(inputs: Inputs) -> Figure:
    """Three panels over the layer; a bar (or a line) per capacity, and per policy if there are several."""
    rows = inputs.results()
    few = rows["layer"].nunique() <= MOST_GROUPS
    figure, axes = style.canvas(inputs.style, style.FULL, 2.3, columns=3)
    for ax, (name, label) in zip(axes, PANELS.items(), strict=True):
        ax.set(xlabel="exit layer", ylabel=label)
        ignore = ("policy", "gamma") if name == "kl" else ()
        made = split(rows, "layer", ignore)
        drawn = bars(ax, made, name) if few else lines(ax, made, "layer", name)
        if drawn and name == "speedup":
            ax.axhline(1.0, **style.REFERENCE)
    # the first panel, free of the policy, borrows the looks of the first policy
    style.legend_above(figure, axes[1:] if any(ax.has_data() for ax in axes[1:]) else axes)
    return figure
