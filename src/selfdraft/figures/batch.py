"""Speed against the batch size: speed-up, and tokens per second of vanilla and speculative decoding."""

from matplotlib.figure import Figure

from selfdraft.figures import style
from selfdraft.figures.beside_vanilla import RUN, both, drafted_and_vanilla
from selfdraft.figures.inputs import Inputs
from selfdraft.figures.quantities import along
from selfdraft.figures.series import lines
from selfdraft.statistics.columns import SETTINGS


def draw(inputs: Inputs) -> Figure:
    """Two panels over the batch size, logarithmic; a line per draft, and vanilla in black (one per policy)."""
    rows = inputs.table("batch.csv", (*SETTINGS, *RUN), ("batch",), ("vanilla_tps", "spec_tps", "speedup"))
    drafted, vanilla = drafted_and_vanilla(rows, "batch")
    figure, axes = style.canvas(inputs.style, style.FULL, 2.5, columns=2)
    for ax, name in zip(axes, ("speedup", "tps"), strict=True):
        ax.set(xlabel="batch size, sequences", ylabel=along(name))
        ax.set_xscale("log", base=2)
    if lines(axes[0], drafted, "batch", "speedup"):
        axes[0].axhline(1.0, **style.REFERENCE)
        axes[0].set_ylim(bottom=0)
    if lines(axes[1], both(drafted, vanilla, "spec_tps", "vanilla_tps", "tps"), "batch", "tps"):
        style.log_axis(axes[1])
    style.legend_above(figure, axes)
    return figure
