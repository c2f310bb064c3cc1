"""The draft length: accepted tokens per cycle and speed-up against gamma, for representative layers."""

from matplotlib.figure import Figure

from selfdraft.figures import style
from selfdraft.figures.inputs import Inputs
from selfdraft.figures.quantities import upright
from selfdraft.figures.series import lines, split


def draw(inputs: Inputs) -> Figure:
    """Two panels over gamma; a line per exit layer (and per capacity or policy if there are several)."""
    rows = inputs.results()
    made = split(rows, "gamma")
    figure, axes = style.canvas(inputs.style, style.COLUMN, 2.0, columns=2)
    for ax, name in zip(axes, ("accepted_mean", "speedup"), strict=True):
        ax.set(xlabel="draft length gamma", ylabel=upright(name))
    if lines(axes[0], made, "gamma", "accepted_mean"):
        axes[0].set_ylim(bottom=0)
    if lines(axes[1], made, "gamma", "speedup"):
        axes[1].axhline(1.0, **style.REFERENCE)
        axes[1].set_ylim(bottom=0)
    style.legend_above(figure, axes)
    style.note_disturbed(figure, rows)
    return figure
