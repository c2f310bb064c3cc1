"""Putting short labels beside points so that they cover neither points, error bars nor each other."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox


@dataclass(frozen=True)
class Label:
    """A text and the point that it belongs to, in data units."""

    x: float
    y: float
    text: str
    color: str = "k"


Box = tuple[float, float, float, float]  # x_low, y_low, x_high, y_high in data units

ANGLES = (45, 135, 90, 0, 180, -45, -135, -90, 20, 160, -20, -160)
DISTANCES = (5.0, 8.0, 12.0, 17.0)  # points; the last two get a thin leader


def place(figure: Figure, ax: Axes, labels: Sequence[Label], boxes: Sequence[Box]) -> None:
    """Add each label where it covers least of `boxes` (points and their error bars) and of other labels."""
    figure.draw_without_rendering()  # the layout must be known to know what covers what
    point = figure.dpi / 72.0
    inside = ax.get_window_extent()
    taken = []
    for x0, y0, x1, y1 in boxes:
        (left, bottom), (right, top) = ax.transData.transform([(x0, y0), (x1, y1)])
        taken.append(
            Bbox.from_extents(left - 1.5 * point, bottom - 1.5 * point, right + 1.5 * point, top + 1.5 * point)
        )
    for label in labels:
        note = ax.annotate(
            label.text,
            (label.x, label.y),
            color=label.color,
            fontsize="small",
            ha="center",
            va="center",
            textcoords="offset points",
            xytext=(0, 0),
        )
        note.set_in_layout(False)
        size = note.get_window_extent()
        x, y = ax.transData.transform((label.x, label.y))
        best = None
        for distance, angle in itertools.product(DISTANCES, ANGLES):
            right, up = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            # the distance is from the point to the edge of the text
            dx = right * (distance * point + size.width / 2)
            dy = up * (distance * point + size.height / 2)
            box = Bbox.from_bounds(x + dx - size.width / 2, y + dy - size.height / 2, size.width, size.height)
            cover = sum(_area(box, other) for other in taken)
            cover += 3.0 * (box.width * box.height - _area(box, inside))
            cost = cover / (box.width * box.height) + 0.01 * distance
            if best is None or cost < best[0] - 1e-9:
                best = (cost, dx, dy, distance, box)
        assert best is not None
        _, dx, dy, distance, box = best
        note.set_position((dx / point, dy / point))
        taken.append(box)
        if distance > 10:
            leader = ax.annotate(
                "",
                (label.x, label.y),
                xytext=(dx / point * 0.8, dy / point * 0.8),
                textcoords="offset points",
                arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": "0.5"},
            )
            leader.set_in_layout(False)


def _area(a: Bbox, b: Bbox) -> float:
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    return max(width, 0.0) * max(height, 0.0)
