"""Speed against the batch size: speed-up, and tokens per second of vanilla and speculative decoding."""

from dataclasses import replace

from matplotlib.figure import Figure

from selfdraft.figures import style
from selfdraft.figures.inputs import Inputs
from selfdraft.figures.quantities import along
from selfdraft.figures.series import Series, lines, look, split
from selfdraft.statistics.columns import SETTINGS

RUN = ("dtype", "device")  # what tells lines apart beside the settings
OF_DRAFTS = tuple(name for name in SETTINGS if name not in ("policy", "dataset"))  # vanilla does not depend on these
BLACK = len(style.PALETTE) - 1


def as_tps(series: Series, name: str) -> Series:
    """The series with the values of `name` in the columns of `tps`."""
    return replace(series, rows=series.rows.rename(columns=lambda column: column.replace(name, "tps")))


def draw(inputs: Inputs) -> Figure:
    """Two panels over the batch size, logarithmic; a line per draft, and vanilla in black (one per policy)."""
    rows = inputs.table("batch.csv", (*SETTINGS, *RUN), ("batch",), ("vanilla_tps", "spec_tps", "speedup"))
    drafted = split(rows, "batch", also=RUN)
    vanilla = [
        replace(series, look=look(BLACK, place), label=f"vanilla, {series.label}")
        for place, series in enumerate(split(rows, "batch", ignore=OF_DRAFTS, also=RUN))
    ]
    if len(vanilla) == 1:
        vanilla = [replace(vanilla[0], label="vanilla")]
    if len(drafted) == 1:
        drafted = [replace(drafted[0], label="speculative")]
    figure, axes = style.canvas(inputs.style, style.FULL, 2.5, columns=2)
    for ax, name in zip(axes, ("speedup", "tps"), strict=True):
        ax.set(xlabel="batch size, sequences", ylabel=along(name))
        ax.set_xscale("log", base=2)
    if lines(axes[0], drafted, "batch", "speedup"):
        axes[0].axhline(1.0, **style.REFERENCE)
        axes[0].set_ylim(bottom=0)
    both = [*(as_tps(s, "vanilla_tps") for s in vanilla), *(as_tps(s, "spec_tps") for s in drafted)]
    if lines(axes[1], both, "batch", "tps"):
        style.log_axis(axes[1])
    style.legend_above(figure, axes)
    return figure
