"""Measured speed-up against the one predicted from acceptance and single steps, and their ratio (efficiency)."""

import numpy as np
from matplotlib.figure import Figure

from selfdraft.figures import style
from selfdraft.figures.inputs import Inputs
from selfdraft.figures.quantities import along
from selfdraft.figures.series import lines, split


def draw(inputs: Inputs) -> Figure:
    """Left: measured over predicted, on the diagonal if the cost model held. Right: their ratio by layer."""
    rows = inputs.results()
    made = split(rows, "layer")
    figure, axes = style.canvas(inputs.style, style.FULL, 2.6, columns=2, width_ratios=(1, 1.45))
    left, right = axes
    left.set(xlabel=along("predicted_speedup"), ylabel="measured speedup\nover vanilla decoding")
    right.set(xlabel="exit layer", ylabel=along("efficiency"))
    ends: list[float] = []
    flagged = False
    for series in made:
        x, x_low, x_high = series.values("predicted_speedup")
        y, y_low, y_high = series.values("speedup")
        known = np.isfinite(x) & np.isfinite(y)
        if not known.any():
            continue
        color = series.look.color
        left.plot(x[known], y[known], label=series.label, linestyle="", **series.look.of_markers())
        if "impossible" in series.rows:
            wrong = known & (series.rows["impossible"].to_numpy(float) == 1)
            label = "above what its acceptance can give" if wrong.any() and not flagged else None
            left.plot(x[wrong], y[wrong], linestyle="", marker="x", markersize=9, color="k", label=label)
            flagged |= bool(wrong.any())
        style.intervals(left, x[known], y_low[known], y_high[known], color)
        style.intervals(left, y[known], x_low[known], x_high[known], color, axis="x")
        ends += [float(f(v[known])) for f in (np.nanmin, np.nanmax) for v in (x, y)]
        for low, high in ((x_low, x_high), (y_low, y_high)):
            ends += [float(end) for end in (*low[known], *high[known]) if np.isfinite(end)]
    if ends:
        margin = max(0.06 * (max(ends) - min(ends)), 0.02)
        span = (min(ends) - margin, max(ends) + margin)
        left.plot(span, span, label="measured = predicted", **style.REFERENCE)
        left.set(xlim=span, ylim=span, aspect="equal")
    else:
        style.not_measured(left, "predicted_speedup")
    if lines(right, made, "layer", "efficiency"):
        right.axhline(1.0, **style.REFERENCE)
        found = np.concatenate([series.values("efficiency")[0] for series in made])
        text = f"median efficiency {np.nanmedian(found):.2f}"
        left.text(0.04, 0.97, text, transform=left.transAxes, ha="left", va="top")
    style.legend_above(figure, axes)
    style.note_disturbed(figure, rows)
    return figure
