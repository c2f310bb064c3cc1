"""What is trained of an exit: KL, accepted_mean and speed-up of the capacities, by exit layer or by size."""

import math
from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure

from selfdraft.figures import style
from selfdraft.figures.bars import grouped, name_groups, name_rows
from selfdraft.figures.inputs import Inputs
from selfdraft.figures.quantities import along, upright
from selfdraft.figures.series import OF_DECODING, capacities, kind, lines, split

MOST_GROUPS, MOST_BARS = 8, 32  # with more, bars are too thin: points and lines instead
PANELS = ("kl", "accepted_mean", "speedup")


def draw(inputs: Inputs) -> Figure:
    """Three panels over the layer; at one layer alone, a row per capacity, from few trained parameters to many."""
    rows = inputs.results()
    layers = sorted(float(layer) for layer in rows["layer"].dropna().unique())
    exits = rows[rows["layer"].notna()]
    if len(layers) == 1 and len(capacities(exits)) > 1:
        return at_one_layer(inputs, exits)
    return by_layer(inputs, rows, layers)


def by_layer(inputs: Inputs, rows: pd.DataFrame, layers: list[float]) -> Figure:
    """A bar (or a line) per capacity at each layer, and per policy if there are several."""
    count = len(split(rows, "layer"))
    few = len(layers) <= MOST_GROUPS and len(layers) * count <= MOST_BARS
    height = 2.3 + 0.15 * max(0, count - 4) / 2  # a legend of many rows takes no room from the panels
    figure, axes = style.canvas(inputs.style, style.FULL, height, columns=3)
    for ax, name in zip(axes, PANELS, strict=True):
        ax.set(xlabel="exit layer", ylabel=upright(name))
        made = split(rows, "layer", OF_DECODING if name == "kl" else ())
        drawn = grouped(ax, made, name, "layer", layers) if few else lines(ax, made, "layer", name)
        if drawn and few:
            name_groups(ax, [f"{layer:g}" for layer in layers])
        if drawn and name == "speedup":
            ax.axhline(1.0, **style.REFERENCE)
    # the first panel, free of the policy, borrows the looks of the first policy
    style.legend_above(figure, axes[1:] if any(ax.has_data() for ax in axes[1:]) else axes)
    style.note_disturbed(figure, rows)
    return figure


def at_one_layer(inputs: Inputs, rows: pd.DataFrame) -> Figure:
    """The capacities below each other with their trained parameters, a bar per policy."""
    known = capacities(rows)
    sizes = {name: trained_parameters(rows[rows["capacity"] == name]) for name in known}
    order = sorted(known, key=lambda name: (sizes[name], known.index(name)))
    bars = len(split(rows, "capacity"))
    height = 0.75 + len(order) * max(0.11 * bars + 0.05, 0.2)
    figure, axes = style.canvas(inputs.style, style.FULL, height, columns=3, sharey=True)
    for ax, name in zip(axes, PANELS, strict=True):
        ax.set_xlabel(along(name))
        made = split(rows, "capacity", OF_DECODING if name == "kl" else ())
        looks = [replace(series, look=kind(place)) for place, series in enumerate(made)]
        if grouped(ax, looks, name, "capacity", order, sideways=True) and name == "speedup":
            ax.axvline(1.0, **style.REFERENCE | {"color": "k", "zorder": 2.5})
    for ax in axes:  # the panels share the rows: named last, as a panel without values clears its ticks
        name_rows(ax, [f"{name} ({size_text(sizes[name])})" for name in order])
    axes[0].set_ylabel("capacity (trained parameters)")
    style.legend_above(figure, axes[1:] if any(ax.has_data() for ax in axes[1:]) else axes)
    style.note_disturbed(figure, rows)
    return figure


def trained_parameters(rows: pd.DataFrame) -> float:
    """How many parameters the capacity trains; infinite where the table does not say."""
    known = rows["trained_parameters"].dropna() if "trained_parameters" in rows else rows["layer"].iloc[:0]
    return float(known.max()) if len(known) else math.inf


def size_text(parameters: float) -> str:
    """A number of parameters in three digits: 576, 332k, 28.3M."""
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if unit <= parameters < math.inf:
            return f"{parameters / unit:.3g}{name}"
    return f"{parameters:.0f}" if parameters < math.inf else "?"
