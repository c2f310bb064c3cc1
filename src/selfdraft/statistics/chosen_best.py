"""The best of several points against the best of several others, each prompt decoded as the other half chose.

The fastest of several is fast by luck too, so that its value on the prompts that chose it is too good. Prompts are
therefore halved once, by seed, and each half is given to the points that were fastest on the other one. What both
sides do on all prompts is then compared, paired by prompt; with nothing to choose it is the plain paired difference.
The bootstrap draws prompts with their half and chooses anew in each resample, so that the interval holds the choice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from selfdraft.statistics.bootstrap import Bootstrap, Estimate, Floats
from selfdraft.statistics.differences import difference
from selfdraft.statistics.speeds import speedup_of

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Sums:
    """Of one point: what `speeds.speedup_columns` and `differences.acceptance_sums` make of its rows, by prompt."""

    speed: pd.DataFrame
    accepted: pd.DataFrame | None = None


@dataclass(frozen=True)
class Compared:
    """Second less first of what was chosen; empty estimates where nothing can be.

    chosen: of each side the numbers of the points that the two halves chose, that which all prompts choose last.
    """

    speedup: Estimate
    accepted_mean: Estimate
    chosen: tuple[tuple[int, int, int], tuple[int, int, int]] | None = None


def halves(prompts: Sequence[str], bootstrap: Bootstrap, name: str) -> Floats:
    """0.0 or 1.0 of each prompt: two halves that depend on the seed and `name` alone."""
    half = np.zeros(len(prompts))
    half[bootstrap.generator(name, "halves").permutation(len(prompts))[: len(prompts) // 2]] = 1.0
    return half


def compare_best(first: Sequence[Sums], second: Sequence[Sums], bootstrap: Bootstrap, name: str) -> Compared:
    """Compare the fastest of `second` with the fastest of `first`, on speed and on accepted tokens a cycle.

    Points are chosen by speed over the prompts on which all were timed, and compared in `accepted_mean` over those on
    which the acceptance of all is known; a prompt that was not timed is decoded as its other half chose too.
    """
    points = [*first, *second]
    timed = _shared([point.speed for point in points])
    if not first or not second or not len(timed):
        return Compared(Estimate(), Estimate())
    count = len(first)
    repeats = max(point.speed.shape[1] for point in points) - 2
    speeds = [_speed_columns(point.speed.reindex(timed), repeats) for point in points]
    half = halves(list(timed), bootstrap, name)
    flat = [half, *(column for columns in speeds for column in columns)]

    def speedup(half: Floats, *columns: Floats) -> Any:
        table = _by_point(columns, len(points))
        sides = [_composed(part, half, _fastest(part, half)) for part in (table[:, :count], table[:, count:])]
        return speedup_of(*sides[1]) - speedup_of(*sides[0])

    note = _left_out(timed, [point.speed for point in points])
    found = _noted(bootstrap.estimate_units(speedup, flat, (name, "best of", "speedup"), "prompts"), note)
    table = _by_point(flat[1:], len(points))

    def told(part: Floats) -> tuple[int, int, int]:
        one, other = _fastest(part, half)
        return int(one), int(other), int(_best(_speedups(part)))

    chosen = told(table[:, :count]), told(table[:, count:])
    return Compared(found, _accepted(points, count, timed, flat, bootstrap, name), chosen)


def _accepted(
    points: Sequence[Sums], count: int, timed: pd.Index, flat: list[Floats], bootstrap: Bootstrap, name: str
) -> Estimate:
    """The difference of accepted tokens a cycle."""
    tables = [point.accepted for point in points]
    known = [table for table in tables if table is not None]
    shared = _shared(known)
    if len(known) < len(tables) or not len(shared):
        return Estimate()
    prompts = timed.union(shared)
    others = [prompt for prompt in prompts if prompt not in timed]
    half = pd.Series(flat[0], index=timed).reindex(prompts)
    half[others] = halves(others, bootstrap, f"{name}, not timed")
    speed = [pd.Series(column, index=timed).reindex(prompts).to_numpy(float) for column in flat[1:]]
    sums = [table.reindex(shared).reindex(prompts)[key].to_numpy(float) for table in known for key in ("over", "under")]

    def accepted(half: Floats, *columns: Floats) -> Any:
        timing = _by_point(columns[: len(speed)], len(points))
        taken = np.nan_to_num(_by_point(columns[len(speed) :], len(points)))
        sides = []
        for part in (slice(None, count), slice(count, None)):
            over, under = _composed(taken[:, part], half, _fastest(timing[:, part], half))
            sides.append((over.sum(axis=-1), under.sum(axis=-1)))
        return difference(*sides)

    made = bootstrap.estimate_units(
        accepted, [half.to_numpy(float), *speed, *sums], (name, "best of", "accepted_mean"), "prompts"
    )
    return _noted(made, _left_out(shared, known))


def _shared(tables: Sequence[pd.DataFrame]) -> pd.Index:
    """The prompts that all tables have."""
    found = pd.Index([]) if not tables else tables[0].index
    for table in tables[1:]:
        found = found.intersection(table.index)
    return found.sort_values()


def _speed_columns(speed: pd.DataFrame, repeats: int) -> list[Floats]:
    """tokens, cycles and a ratio for each repeat; repeats that a point lacks are NaN, which no mean counts."""
    columns = [speed.iloc[:, number].to_numpy(float) for number in range(speed.shape[1])]
    return columns + [np.full(len(speed), np.nan)] * (repeats + 2 - len(columns))


def _by_point(columns: Sequence[Floats], points: int) -> Floats:
    """Columns of the points one after the other -> `[kinds, points, ..., units]`."""
    return np.stack(columns).reshape(points, -1, *np.shape(columns[0])).swapaxes(0, 1)


def _speedups(table: Floats) -> Floats:
    """Of columns `[kinds, points, ..., units]`; NaN where nothing was timed."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(speedup_of(*table))


def _best(speedups: Floats) -> Ints:
    """The number of the fastest over the first axis; the first one where nothing was timed."""
    return np.asarray(np.argmax(np.nan_to_num(speedups, nan=-np.inf), axis=0))


def _fastest(table: Floats, half: Floats) -> tuple[Ints, Ints]:
    """The point that each half chose, `[...]` each."""
    found = []
    for number in (0.0, 1.0):
        counted = np.nan_to_num(table[:2])  # counts; times of others are left out
        ratios = np.where(half == number, table[2:], np.nan)
        found.append(_best(_speedups(np.concatenate([np.where(half == number, counted, 0.0), ratios]))))
    return found[0], found[1]


def _composed(table: Floats, half: Floats, chosen: tuple[Ints, Ints]) -> Floats:
    """Each prompt's columns `[kinds, ..., units]`, of the point that the other half chose."""
    number = np.where(half == 0.0, np.expand_dims(chosen[1], -1), np.expand_dims(chosen[0], -1))
    index = np.broadcast_to(number[None, None], (table.shape[0], 1, *number.shape))
    return np.take_along_axis(table, index, axis=1)[:, 0]


def _left_out(shared: pd.Index, tables: Sequence[pd.DataFrame]) -> str:
    return "" if all(len(table) == len(shared) for table in tables) else f"over {len(shared)} shared prompts"


def _noted(made: Estimate, note: str) -> Estimate:
    return made if made.note or made.value is None or not note else Estimate(made.value, made.low, made.high, note)


def chosen_text(chosen: tuple[int, int, int], called: Sequence[str]) -> str:
    """What the two halves chose, once where they agree: "14" or "14 21"."""
    return " ".join(dict.fromkeys(called[number] for number in chosen[:2]))
