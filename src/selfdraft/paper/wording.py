"""How a sentence says a number, a draft, a verdict: the words that all of them share."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from selfdraft.paper.cells import estimate, interval, is_known, number, plain
from selfdraft.paper.measured import Measured, Row
from selfdraft.paper.tables import method_of, records

COUNTS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def count(found: int) -> str:
    """A small number as a word."""
    return COUNTS[found] if found < len(COUNTS) else f"{found:,}"


def each(found: int, noun: str) -> str:
    """Each of the two points; the one point."""
    return f"the one {noun}" if found == 1 else f"each of the {count(found)} {noun}s"


def listed(words: Iterable[str]) -> str:
    """a; a and b; a, b and c."""
    *first, last = list(words) or [""]
    return f"{', '.join(first)} and {last}" if first else last


def percent(value: float) -> str:
    """A share in percent."""
    return f"{100 * value:.0f} %"


def code(name: Any) -> str:
    """A name of the config or of a table, as the text marks it."""
    return f"`{name}`"


def draft(row: Row) -> str:
    """A draft in a few words."""
    return (
        f"{code(row['capacity'])} at layer {plain(row['layer'])}"
        if is_known(row.get("layer"))
        else code(row["drafter"])
    )


def method(study: Measured, row: Row) -> str:
    """What a point drafts with, in words."""
    kind, *names = method_of(study, row).split(", ")
    return f"an exit with {listed(map(code, names))}" if kind == "exit" else ", ".join(map(code, (kind, *names)))


def times(row: Row) -> str:
    """A point's speedup and its interval."""
    return estimate(row, "speedup")


def side(row: Row, name: str = "speedup", of: float = 1.0) -> int:
    """1 if a measure's interval lies above `of`, -1 if below, 0 if it holds it or there is none."""
    ends = interval(row, name)
    return 0 if ends is None else int(ends[0] > of) - int(ends[1] < of)


def below(one: Row, other: Row, name: str) -> bool:
    """Whether one point's interval of a measure lies below the other's."""
    a, b = interval(one, name), interval(other, name)
    return a is not None and b is not None and a[1] < b[0]


def timed(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """The points with a speedup."""
    return [row for row in records(rows) if is_known(row.get("speedup"))]


def own(study: Measured) -> pd.DataFrame:
    """All points on the study's own text under the usual policy."""
    rows = study.results
    return rows[(rows["dataset"] == study.dataset) & (rows["policy"] == study.policy)]


def course(ordered: Sequence[Row], name: str, word: str) -> str:
    """How a measure goes along some points: it falls, it rises, or it does neither all the way."""
    known = [row for row in ordered if is_known(row.get(name))]
    if len(known) < 2:
        return ""
    steps = np.sign(np.diff([float(row[name]) for row in known]))
    first, last = known[0], known[-1]
    how = "falls" if (steps < 0).all() else "rises" if (steps > 0).all() else "goes up and down, from first to last"
    how = "stays" if not steps.any() else how
    if steps.any() and how.startswith("goes"):
        return f"{word} {how} {number(first[name])} to {number(last[name])}"
    return f"{word} {how} from {number(first[name])} to {number(last[name])}" if steps.any() else f"{word} {how}"
