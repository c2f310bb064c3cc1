"""What compilers make of one decoding step: its time by depth and mode, and the time to compile."""

from matplotlib.figure import Figure

from selfdraft.figures import style
from selfdraft.figures.bars import grouped, name_groups
from selfdraft.figures.inputs import Inputs
from selfdraft.figures.panels import by_name, by_run, looks
from selfdraft.figures.quantities import along

MODES = ("eager", "compile", "compile reduce-overhead", "cuda graph")
PANELS = ("step_ms", "compile_s")


def draw(inputs: Inputs) -> Figure:
    """Two panels for each number format and batch size; a group of bars per depth, a bar per mode."""
    rows = inputs.table("compile.csv", ("mode", "dtype", "device"), ("depth", "batch"), PANELS)
    shown = looks(rows["mode"], MODES)
    panels = by_run(rows)
    figure, axes = style.canvas(inputs.style, style.FULL, 0.4 + 1.9 * len(panels), len(panels), len(PANELS))
    for row, (title, part) in enumerate(panels):
        full = part["depth"].max()
        part = part.dropna(subset=["step_ms"])
        depths = sorted(part["depth"].unique())
        for ax, name in zip(axes[2 * row :], PANELS, strict=False):
            ax.set(xlabel="depth, layers run", ylabel=along(name))
            ax.set_title(title, fontsize="medium")
            made = by_name(part.dropna(subset=[name]), "mode", shown)
            if grouped(ax, made, name, "depth", depths):
                name_groups(ax, [f"{depth:g} (full)" if depth == full else f"{depth:g}" for depth in depths])
    style.legend_above(figure, axes)
    return figure
