"""The three findings of a results.csv that matter: the fastest point, and the two settings that matter most."""

import csv
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

SETTINGS = ("drafter", "layer", "T", "capacity", "objective", "seed", "policy", "gamma", "dataset", "drafting")
# What a setting may matter for: the first of these in which two points that differ in it alone are apart.
MEASURES = {"speedup": "speedup", "accepted_mean": "accepted tokens a cycle", "kl_at_1": "KL in nats"}
SAME = 0.99  # accept_rate from which a draft is as good as the target itself, and its depth no finding

Row = dict[str, str]


@dataclass(frozen=True)
class Apart:
    """Two points that differ in one setting, the better first; `ratio`: between the nearer ends of their intervals."""

    setting: str
    measure: str
    better: Row
    worse: Row
    ratio: float


def findings(table: str | Path) -> list[str]:
    """At most three sentences on a results.csv. None where nothing was measured that is clear."""
    with Path(table).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = list(_fastest(rows))
    largest: dict[str, Apart] = {}
    for pair in _apart([row for row in rows if not (_number(row, "accept_rate") or 0) >= SAME]):
        known = largest.get(pair.setting)
        # another measure only where the one before it says nothing of this setting
        if known is None or (known.measure == pair.measure and pair.ratio > known.ratio):
            largest[pair.setting] = pair
    for pair in sorted(largest.values(), key=lambda pair: -pair.ratio)[: 3 - len(found)]:
        found.append(_sentence(pair))
    return found


def _fastest(rows: list[Row]) -> Iterator[str]:
    timed = [row for row in rows if _number(row, "speedup") is not None]
    if not timed:
        return
    best = max(timed, key=lambda row: float(row["speedup"]))
    known = _interval(best, "speedup")
    if known is None:
        yield (
            f"The fastest of {len(timed)} points, {_name(best)}, has a speedup of {float(best['speedup']):.2f} over "
            "the target alone (too few prompts for an interval)."
        )
        return
    low, high = known
    verdict = "faster than" if low > 1 else "slower than" if high < 1 else "not clearly faster or slower than"
    faster = sum((_interval(row, "speedup") or (0, 0))[0] > 1 for row in timed)
    yield (
        f"The fastest of {len(timed)} points, {_name(best)}, is {verdict} the target alone: speedup "
        f"{_estimate(best, 'speedup')}; {faster} of them {'is' if faster == 1 else 'are'} clearly above 1."
    )


def _apart(rows: list[Row]) -> Iterator[Apart]:
    """Pairs of points that differ in one setting alone, with intervals that do not meet, by the measure's order."""
    for measure in MEASURES:
        known = [row for row in rows if _interval(row, measure)]
        for one, other in combinations(known, 2):
            differing = [name for name in SETTINGS if one.get(name) != other.get(name)]
            if len(differing) != 1 or differing[0] in ("drafter", "seed"):
                continue
            low, high = sorted((one, other), key=lambda row: float(row[measure]))
            below, above = _interval(low, measure), _interval(high, measure)
            if below and above and 0 < below[1] < above[0]:
                better, worse = (low, high) if measure == "kl_at_1" else (high, low)
                yield Apart(differing[0], measure, better, worse, above[0] / below[1])


def _sentence(pair: Apart) -> str:
    setting, measure = pair.setting, pair.measure
    words = {"layer": "exit layer", "policy": "sampling", "gamma": "draft length", "drafting": "way of drafting"}
    return (
        f"By {words.get(setting, setting)}: {MEASURES[measure]} {_estimate(pair.better, measure)} with "
        f"{pair.better[setting]}, {_estimate(pair.worse, measure)} with {pair.worse[setting]} "
        f"({_draft(pair.better, setting)}, {_rest(pair.better, {setting})})."
    )


def _draft(row: Row, without: str = "") -> str:
    if not row.get("layer"):
        return row["drafter"]
    parts = {"capacity": row["capacity"], "layer": f"layer {row['layer']}", "T": f"T {float(row['T']):g}"}
    if float(row["T"]) == 1:
        del parts["T"]
    return " at ".join(part for name, part in parts.items() if name != without)


def _rest(row: Row, without: Iterable[str]) -> str:
    parts = {"policy": row["policy"], "gamma": f"gamma {row['gamma']}", "dataset": row["dataset"]}
    if row.get("drafting") not in ("fixed", "", None):
        parts["drafting"] = row["drafting"]
    return ", ".join(part for name, part in parts.items() if name not in without and part)


def _name(row: Row) -> str:
    return f"{_draft(row)} ({_rest(row, ())})"


def _estimate(row: Row, measure: str) -> str:
    low, high = _interval(row, measure) or (math.nan, math.nan)
    return f"{float(row[measure]):.2f} [{low:.2f}, {high:.2f}]"


def _interval(row: Row, measure: str) -> tuple[float, float] | None:
    ends = _number(row, measure), _number(row, f"{measure}_low"), _number(row, f"{measure}_high")
    if ends[0] is None or ends[1] is None or ends[2] is None:
        return None
    return ends[1], ends[2]


def _number(row: Row, name: str) -> float | None:
    try:
        value = float(row.get(name) or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
