"""Training: loss and validation KL against the tokens trained on, a line per checkpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from selfdraft.errors import StudyError
from selfdraft.figures import style
from selfdraft.figures.inputs import Inputs, Log
from selfdraft.figures.quantities import along

# the look says the settings: colour the layer (dark to light), line the capacity (and the objective, where there
# are several), marker T; the seeds of one draft look alike
KEYS = ("layer", "capacity", "T")
LEAST = 0.1  # below this the axis is linear
PANELS = ("loss", "validation_kl")


def look(settings: Mapping[str, Any], have: Mapping[str, list[Any]]) -> dict[str, Any]:
    """Colour, line style and marker of a checkpoint, from the place of its settings among all."""
    layer, capacity, temperature = (have[key].index(settings.get(key)) for key in KEYS)
    shade = 0.0 if len(have["layer"]) == 1 else 0.88 * layer / (len(have["layer"]) - 1)
    return {
        "color": matplotlib.colormaps["viridis"](shade),
        "linestyle": style.LINES[capacity % len(style.LINES)],
        "marker": style.MARKERS[temperature % len(style.MARKERS)],
    }


def told_apart(logs: Sequence[Log]) -> list[Log]:
    """The logs with the objective behind the capacity, if they have several."""
    if len({log.settings.get("objective") for log in logs}) == 1:
        return list(logs)
    known = [log for log in logs if log.settings]
    named = {log.name: f"{log.settings['capacity']}, {log.settings['objective']}" for log in known}
    return [replace(log, settings=log.settings | {"capacity": named.get(log.name)}) for log in logs]


def key_handles(have: Mapping[str, list[Any]]) -> list[Line2D]:
    """The legend: one entry per layer, capacity and T, not one per checkpoint."""
    neutral = {
        "layer": {"linestyle": "-", "marker": ""},
        "capacity": {"color": "0.2", "marker": ""},
        "T": {"color": "0.2", "linestyle": ""},
    }
    handles = []
    for key in KEYS:
        if have[key] == [None] or (key == "T" and len(have[key]) == 1):
            continue
        for value in have[key]:
            shown = look({other: have[other][0] for other in KEYS} | {key: value}, have) | neutral[key]
            text = f"{key} {value:g}" if isinstance(value, int | float) else str(value)
            handles.append(Line2D([], [], label=text, **shown))
    return handles


def draw(inputs: Inputs) -> Figure:
    """Two panels over tokens, logarithmic upwards; validation KL is logged now and then, at the markers."""
    logs = told_apart(inputs.logs(("tokens", *PANELS)))
    if not logs:
        raise StudyError("--logs: no file given; this figure draws the training of exits")
    have = {key: list(dict.fromkeys(log.settings.get(key) for log in logs)) for key in KEYS}
    have["T"].sort(key=lambda value: value or 0.0)
    have["capacity"].sort(key=str)
    figure, axes = style.canvas(inputs.style, style.FULL, 2.5, columns=2, sharex=True)
    for ax, name in zip(axes, PANELS, strict=True):
        ax.set(xlabel="training tokens, thousands", ylabel=along(name))
        drawn = False
        for log in logs:
            known = log.lines.dropna(subset=["tokens", name])
            if known.empty:
                continue
            drawn = True
            shown = look(log.settings, have)
            if name == "loss":
                every = max(1, len(known) // 6)
                shown |= {"linewidth": 0.8, "markevery": (every // 3, every)}
                shown |= {"marker": ""} if len(have["T"]) == 1 else {}
            ax.plot(known["tokens"] / 1e3, known[name], markersize=3, label=log.name, **shown)
        if drawn:
            least = min(float(np.min(line.get_ydata())) for line in ax.lines)
            if least < LEAST:  # an exit after the last layer starts at 0, which a logarithm cannot show
                style.log_axis(ax, LEAST)
                ax.set_ylim(bottom=min(0.0, least))
            else:
                style.log_axis(ax)
        else:
            style.not_measured(ax, name)
    style.legend_above(figure, handles=key_handles(have), handlelength=2.2, columnspacing=1.1)
    return figure
