"""The draft length: accepted tokens per cycle and speed-up against gamma, for representative layers."""

from matplotlib.figure import Figure

from selfdraft.figures import style
from selfdraft.figures.inputs import Inputs
from selfdraft.figures.series import lines, split


def draw(inputs: Inputs) -> Figure:
    """Two panels over gamma; a line per exit layer (and per capacity or policy if there are several)."""
    rows = inputs.results()
    made = split(rows, "gamma")
    figure, axes = style.canvas(inputs.style, style.COLUMN, 2.0, columns=2)
    axes[0].set(xlabel="gamma", ylabel="accepted_mean\n(tokens/cycle)")
    axes[1].set(xlabel="gamma", ylabel="speedup (× vanilla)")
    if lines(axes[0], made, "gamma", "accepted_mean"):
        axes[0].set_ylim(bottom=0)
    if lines(axes[1], made, "gamma", "speedup"):
        axes[1].axhline(1.0, **style.REFERENCE)
        axes[1].set_ylim(bottom=0)
    style.legend_above(figure, axes)
    style.note_disturbed(figure, rows)
    return figure
