"""Studies of a few points, made by hand, to see which sentence their numbers choose."""

import pandas as pd

from selfdraft.figures.inputs import FIXED
from selfdraft.paper.measured import BESIDE, TEXTS, Measured

POINT = {
    "drafter": "early_exit",
    "layer": 6.0,
    "T": 1.0,
    "capacity": "head",
    "objective": "kl",
    "seed": 0.0,
    "policy": "greedy",
    "gamma": 4.0,
    "dataset": "chat",
    "drafting": FIXED,
}
OTHER = POINT | {"drafter": "lookup", "layer": float("nan"), "T": float("nan"), "seed": float("nan")}
OTHER |= {"capacity": "", "objective": ""}


def cells(**measures):
    """Columns of measures: a value, or (low, value, high)."""
    found = {}
    for name, given in measures.items():
        low, value, high = given if isinstance(given, tuple) else (None, given, None)
        found |= {name: value, f"{name}_low": low, f"{name}_high": high}
    return found


def exit_point(speedup=None, settings=(), **measures):
    """An exit's row; `settings` differ from those of POINT."""
    return POINT | dict(settings) | cells(speedup=speedup, **measures)


def lookup(speedup=None, settings=(), **measures):
    """A row of prompt lookup."""
    return OTHER | dict(settings) | cells(speedup=speedup, **measures)


def measured(*rows, config=None, surroundings=None, **tables):
    """The study of these rows; `tables` beside results.csv are lists of rows."""
    beside = {name: numeric(pd.DataFrame(found)) for name, found in tables.items()}
    assert set(beside) <= set(BESIDE)
    return Measured(numeric(pd.DataFrame(rows)), beside, config or {}, surroundings or {}, {})


def numeric(table):
    """Numbers as floats, as a table that was read has them."""
    return table.assign(**{name: pd.to_numeric(table[name]).astype(float) for name in table if name not in TEXTS})
