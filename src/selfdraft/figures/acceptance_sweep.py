"""Acceptance against the exit layer: accepted_mean, accept_rate and total variation."""

from matplotlib.figure import Figure

from selfdraft.figures import style
from selfdraft.figures.inputs import Inputs
from selfdraft.figures.quantities import upright
from selfdraft.figures.series import lines, split

PANELS = ("accepted_mean", "accept_rate", "tv")


def draw(inputs: Inputs) -> Figure:
    """Three panels over the layer; a line per capacity and policy."""
    made = split(inputs.results(), "layer")
    figure, axes = style.canvas(inputs.style, style.FULL, 2.3, columns=3)
    for ax, name in zip(axes, PANELS, strict=True):
        ax.set(xlabel="exit layer", ylabel=upright(name))
        if lines(ax, made, "layer", name):
            ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))
            if name != "accepted_mean":
                ax.set_ylim(top=1.03)
    style.legend_above(figure, axes)
    return figure
