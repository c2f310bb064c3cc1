"""One module a figure, one style. `FIGURES` names them; a module is imported only to be drawn."""

import importlib
from types import ModuleType

from selfdraft.errors import StudyError

# name of the figure and of its file -> its module; each offers `draw(inputs) -> matplotlib Figure`
FIGURES = {
    name: f"selfdraft.figures.{name}"
    for name in (
        "layer_sweep",
        "acceptance_sweep",
        "pareto",
        "gamma",
        "temperature",
        "capacity",
        "histograms",
        "training_curves",
        "predicted_speedup",
        "cycle_time",
        "drafting",
        "domains",
        "methods",
        "learning",
        "heads",
        "exits",
        "unverified",
        "online",
        "shift",
        "batch",
        "lengths",
        "peers",
        "compile",
    )
}


def figure_module(name: str) -> ModuleType:
    """The module that draws figure `name`. Raises StudyError for a name that is no figure."""
    if name not in FIGURES:
        raise StudyError(f"figure {name!r}: unknown; the figures are {', '.join(FIGURES)}")
    return importlib.import_module(FIGURES[name])
