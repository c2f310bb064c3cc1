"""How all figures look: sizes of a two-column paper, one palette, type sizes, deterministic files."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogFormatter, NullLocator

from selfdraft.errors import StudyError
from selfdraft.files import whole_file

COLUMN, FULL = 3.35, 6.9  # inches: one column, both columns

# Okabe & Ito 2008, told apart with any colour vision; yellow is left out, too faint on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)), (0, (3, 1, 1, 1)))
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "++++", "----", "oooo")
REFERENCE: dict[str, Any] = {"color": "0.35", "linewidth": 0.8, "linestyle": (0, (4, 2)), "zorder": 0.9}

RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "axes.labelsize": 7.2,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 3.2,
    "legend.columnspacing": 1.4,
    "legend.borderaxespad": 0.2,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.8,
    "hatch.linewidth": 0.5,
    "axes.prop_cycle": cycler(color=PALETTE),
    "pdf.fonttype": 42,
    "svg.hashsalt": "selfdraft",
    "figure.dpi": 150,
    "savefig.dpi": 300,
}


@dataclass(frozen=True)
class Style:
    """Overrides of one figure: width and height in inches, matplotlib rcParams."""

    width: float | None = None
    height: float | None = None
    rcParams: dict[str, Any] = field(default_factory=dict)


def checked_style(overrides: dict[str, Any]) -> Style:
    """A Style from its JSON object. Raises StudyError naming the key that is unknown or ill-valued."""
    known = ("width", "height", "rcParams")
    for key, value in overrides.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f'; did you mean "{near[0]}"?' if near else f"; known are {', '.join(known)}"
            raise StudyError(f"--style: {key}: unknown key{hint}")
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if key != "rcParams" and not (is_number and 0.5 <= value <= 50):
            raise StudyError(f"--style: {key}: {value!r} is not a number of inches from 0.5 to 50")
    params = overrides.get("rcParams", {})
    if not isinstance(params, dict):
        raise StudyError(f'--style: rcParams: {params!r} is not an object like {{"font.size": 8}}')
    for key, value in params.items():
        if key not in matplotlib.rcParams:
            near = difflib.get_close_matches(key, list(matplotlib.rcParams), 1)
            hint = f'; did you mean "{near[0]}"?' if near else ""
            raise StudyError(f"--style: rcParams.{key}: matplotlib has no such key{hint}")
        try:
            matplotlib.RcParams({key: value})
        except ValueError as error:
            raise StudyError(f"--style: rcParams.{key}: {' '.join(str(error).split())}") from None
    return Style(overrides.get("width"), overrides.get("height"), params)


@contextmanager
def applied(style: Style) -> Iterator[None]:
    """The house style with a figure's overrides, for the block only."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        for key, value in (RC | style.rcParams).items():
            matplotlib.rcParams[key] = value  # type: ignore[index]
        yield


def canvas(
    style: Style, width: float, height: float, rows: int = 1, columns: int = 1, **grid: Any
) -> tuple[Figure, list[Axes]]:
    """A figure of `width` x `height` inches and its axes, row by row."""
    figure = Figure(figsize=(style.width or width, style.height or height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, **grid)
    return figure, [ax for row in axes for ax in row]


def legend_above(figure: Figure, axes: Sequence[Axes] = (), handles: Sequence[Any] = (), **look: Any) -> None:
    """One legend for all panels, above them, in as few rows as its width allows.

    Each label of `axes` stands once, in order of appearance; or give `handles` instead.
    """
    named = {handle.get_label(): handle for handle in handles}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    for rows in range(1, len(named) + 1):
        legend = figure.legend(
            list(named.values()),
            list(named),
            loc="outside upper center",
            ncols=-(-len(named) // rows),
            **look,
        )
        if legend.get_window_extent().width <= 0.98 * figure.bbox.width or rows == len(named):
            return
        legend.remove()


def disturbed_text(rows: pd.DataFrame) -> str:
    """What share of the runs behind the points was disturbed by other work on the machine; empty if none was."""
    share = rows["disturbed"].dropna() if "disturbed" in rows else rows.iloc[:, 0].iloc[:0]
    if not len(share) or share.max() == 0:
        return ""
    return f"disturbed: {share.mean():.0%} of the timed runs, of one point {share.max():.0%}"


def note_disturbed(figure: Figure, rows: pd.DataFrame) -> None:
    """A line at the foot of a figure of speeds, if other work on the machine disturbed runs of its points."""
    if text := disturbed_text(rows):
        figure.set_figheight(figure.get_figheight() + 0.2)  # its own room, so that no panel shrinks
        look = {"frameon": False, "borderpad": 0.0, "borderaxespad": 0.2, "title_fontsize": "small"}
        figure.legend([], [], title=text, loc="outside lower left", **look)


class PlainMinor(LogFormatter):
    """Labels between the powers of ten where there is room for them, as plain numbers: 0.6, not 6e-01."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def log_axis(ax: Axes, linear_below: float | None = None) -> None:
    """A logarithmic y axis with plain numbers; with `linear_below`, linear from 0 up to there."""
    if linear_below is None:
        ax.set_yscale("log")
        ax.yaxis.set_minor_formatter(PlainMinor(labelOnlyBase=False, minor_thresholds=(1.2, 0.5)))
    else:
        ax.set_yscale("symlog", linthresh=linear_below, linscale=0.4)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def not_measured(ax: Axes, name: str) -> None:
    """Say in the panel that the table has no value of `name`."""
    ax.text(0.5, 0.5, f"{name}:\nnot measured", transform=ax.transAxes, ha="center", va="center", color="0.4")
    ax.set(xticks=[], yticks=[])


def note(ax: Axes, text: str, x: float, y: float, right: bool = False) -> None:
    """A small text just above the point, or to the right of it."""
    look: dict[str, Any] = {"xytext": (3, 0), "va": "center"} if right else {"xytext": (0, 2), "ha": "center"}
    paper = {"facecolor": "white", "edgecolor": "none", "pad": 0.4}  # a line behind the text would strike it out
    ax.annotate(text, (x, y), textcoords="offset points", fontsize="x-small", bbox=paper, **look)


def intervals(
    ax: Axes,
    x: Any,
    low: Any,
    high: Any,
    color: str = "k",
    axis: str = "y",
    width: float = 0.8,
    z: float = 1.9,
) -> None:
    """Error bars from `low` to `high`, arrays [points]; a point without an interval gets none.

    They are drawn below the markers, unless `z` says otherwise.
    """
    x, low, high = (np.asarray(values, dtype=float) for values in (x, low, high))
    known = np.isfinite(low) & np.isfinite(high)
    if not known.any():
        return
    x, low, high = x[known], low[known], high[known]
    # BCa intervals need not hold the value itself, so that the bar is drawn on its own
    middle, half = (low + high) / 2, (high - low) / 2
    bars: dict[str, Any] = {
        "fmt": "none",
        "ecolor": color,
        "elinewidth": width,
        "capsize": 1.8,
        "capthick": width,
        "zorder": z,
    }
    if axis == "y":
        ax.errorbar(x, middle, yerr=half, **bars)
    else:
        ax.errorbar(middle, x, xerr=half, **bars)


def ticks_at(ax: Axes, values: Any, most: int = 10) -> None:
    """x ticks at the measured values, as long as they are few."""
    values = sorted({float(value) for value in values})
    if len(values) > most:
        values = values[:: -(-len(values) // most)]
    ax.set_xticks(values, [f"{value:g}" for value in values])
    ax.xaxis.set_minor_locator(NullLocator())


def save(figure: Figure, name: str, out_dir: Path, facts: Mapping[str, str] = MappingProxyType({})) -> list[Path]:
    """Write NAME.pdf and NAME.png (300 dpi by default), each whole; equal figures and facts give equal bytes.

    `facts` are texts by the names of a PDF's document information; the PNG has them as text chunks.
    """
    written = []
    for kind, metadata in (("pdf", {"CreationDate": None, "ModDate": None, **facts}), ("png", dict(facts))):
        path = out_dir / f"{name}.{kind}"
        with whole_file(path) as temporary:
            figure.savefig(temporary, format=kind, metadata=metadata)
        written.append(path)
    return written
