"""Speed against the length of the answer: speed-up, seconds of vanilla and speculative decoding, acceptance."""

from matplotlib.figure import Figure

from selfdraft.figures import style
from selfdraft.figures.beside_vanilla import RUN, both, drafted_and_vanilla
from selfdraft.figures.inputs import Inputs
from selfdraft.figures.quantities import upright
from selfdraft.figures.series import lines
from selfdraft.statistics.columns import SETTINGS

MEASURED = ("speedup", "vanilla_s", "spec_s", "accept_rate")


def draw(inputs: Inputs) -> Figure:
    """Three panels over the length, logarithmic; a line per draft, and vanilla in black (one per policy)."""
    rows = inputs.table("lengths.csv", (*SETTINGS, *RUN), ("length",), MEASURED)
    drafted, vanilla = drafted_and_vanilla(rows, "length")
    figure, axes = style.canvas(inputs.style, style.FULL, 2.5, columns=3)
    for ax, name in zip(axes, ("speedup", "seconds", "accept_rate"), strict=True):
        ax.set(xlabel="length of the answer, tokens", ylabel=upright(name))
        ax.set_xscale("log", base=2)
    if lines(axes[0], drafted, "length", "speedup"):
        axes[0].axhline(1.0, **style.REFERENCE)
        axes[0].set_ylim(bottom=0)
    if lines(axes[1], both(drafted, vanilla, "spec_s", "vanilla_s", "seconds"), "length", "seconds"):
        style.log_axis(axes[1])
    if lines(axes[2], drafted, "length", "accept_rate"):
        axes[2].set_ylim(bottom=0)
    style.legend_above(figure, axes)
    return figure
