"""What several heads of one target know: agreement and exits by threshold, and how sure they may be."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from selfdraft.figures import style
from selfdraft.figures.inputs import Inputs

THRESHOLD, RELIABILITY = "threshold", "reliability"
PANELS = (
    (THRESHOLD, "agreement", "entropy threshold (nats)", "leaving tokens that agree"),
    (THRESHOLD, "exit_rate", "entropy threshold (nats)", "tokens that leave"),
    (RELIABILITY, "agreement", "top probability of the head", "tokens that agree"),
)


def draw(inputs: Inputs) -> Figure:
    """Three panels; a line per head, with the bars of bootstrap intervals over conversations."""
    texts, measured = ("drafter", "layer", "curve"), ("agreement", "exit_rate")
    rows = inputs.table("head_curves.csv", texts, ("at",), measured)
    heads = rows[["drafter", "layer"]].drop_duplicates().sort_values(["drafter", "layer"])
    several = heads["drafter"].nunique() > 1
    figure, axes = style.canvas(inputs.style, style.FULL, 2.4, 1, len(PANELS))
    for ax, (curve, name, x, y) in zip(axes, PANELS, strict=True):
        ax.set(xlabel=x, ylabel=y)
        found = False
        for place, (drafter, layer) in enumerate(heads.itertuples(index=False)):
            of_head = (rows["drafter"] == drafter) & (rows["layer"] == layer) & (rows["curve"] == curve)
            part = rows[of_head].dropna(subset=[name]).sort_values("at")
            if part.empty:
                continue
            found, color = True, style.PALETTE[place % len(style.PALETTE)]
            marks: dict[str, Any] = {
                "linestyle": style.LINES[place % len(style.LINES)],
                "marker": style.MARKERS[place % 8],
            }
            label = f"{drafter}, layer {layer:g}" if several else f"layer {layer:g}"
            ax.plot(part["at"], part[name], color=color, label=label, **marks)
            if f"{name}_low" in part:
                style.intervals(ax, part["at"], part[f"{name}_low"], part[f"{name}_high"], color)
        if not found:
            style.not_measured(ax, y)
            continue
        _frame(ax, curve)
    style.legend_above(figure, axes)
    return figure


def _frame(ax: Axes, curve: str) -> None:
    """Shares from 0 to 1; entropies by their logarithm, and the line of a head that knows how sure it may be."""
    ax.set_ylim(-0.02, 1.02)
    if curve == THRESHOLD:
        ax.set_xscale("log")
        ax.set_xticks([0.01, 0.1, 1, 10], ["0.01", "0.1", "1", "10"])
    else:
        ax.set_xlim(-0.02, 1.02)
        ax.plot([0, 1], [0, 1], **style.REFERENCE)
