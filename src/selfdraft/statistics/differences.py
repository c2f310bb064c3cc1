"""Paired differences between the points of a sweep, and the spread between training seeds.

Two points of one sweep are compared if they differ in one setting alone (a capacity, a layer, an objective, a seed, a
way of drafting, …), on the same data set under the same policy. A unit (a conversation for quality, a prompt for
acceptance and speed) is hard or easy for both alike. Units are therefore drawn in pairs, and the difference has a much
narrower interval than its two sides: bars that overlap may well hide a clear difference. Each interval is for one
pair by itself; among a hundred pairs without a difference five have a 95 % interval that leaves zero out.
"""

import itertools
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from selfdraft.statistics.bootstrap import Bootstrap, Estimate
from selfdraft.statistics.columns import CHECKPOINT, SETTINGS
from selfdraft.statistics.raw_tables import read_raw, setting
from selfdraft.statistics.speeds import speedup_columns, speedup_of
from selfdraft.statistics.tables import cell, groups, note, number_text

VARIED = ("drafter", "layer", "T", "capacity", "objective", "seed", "gamma", "drafting")
QUALITY = {"kl": "kl_sum", "kl_at_1": "kl_at_1_sum", "top1": "top1_sum"}
MEASURES = (*QUALITY, "accepted_mean", "speedup")
COLUMNS = ("sweep", "varied", "first", "second", *SETTINGS)
SPREAD_COLUMNS = tuple(name for name in SETTINGS if name != "seed")

Key = tuple[str, ...]
Sums = pd.DataFrame  # a row per unit, a column per sum


def difference(first: tuple[float, float], second: tuple[float, float]) -> Any:
    """Ratio of the second's sums (over, under) less that of the first's."""
    return second[0] / second[1] - first[0] / first[1]


def quality_sums(rows: pd.DataFrame, measure: str) -> Sums:
    """By conversation: what is added up for a measure of quality, and tokens."""
    return _sums(rows, "conversation", over=rows[QUALITY[measure]], under=rows["tokens"])


def acceptance_sums(rows: pd.DataFrame) -> Sums:
    """By prompt: tokens accepted, and the cycles that could accept all."""
    whole = rows[rows["cut"] == 0]
    return _sums(whole, "prompt", over=whole["accepted"], under=1.0)


def _sums(rows: pd.DataFrame, unit: str, **columns: Any) -> Sums:
    """Sums by unit; none at all if a row lacks one of the columns: half a measurement is none."""
    table = pd.DataFrame({unit: rows[unit], **columns})
    return table.iloc[:0].set_index(unit) if table.isna().any(axis=None) else table.groupby(unit, sort=True).sum()


class Tables:
    """The raw rows by point. A table that is None was not measured."""

    def __init__(self, quality: Path | None, acceptance: Path | None, speed: Path | None, bootstrap: Bootstrap) -> None:
        self.bootstrap = bootstrap
        timed = read_raw(speed, "speed") if speed else None
        self.quality = groups(read_raw(quality, "quality") if quality else None, CHECKPOINT)
        self.acceptance = groups(read_raw(acceptance, "acceptance") if acceptance else None, SETTINGS)
        self.speed: dict[Key, pd.DataFrame] = {}
        self.vanilla: dict[Key, pd.DataFrame] = {}
        if timed is not None:
            self.speed = groups(timed[timed["method"] == "speculative"], SETTINGS)
            self.vanilla = groups(timed[timed["method"] == "vanilla"], ("policy", "dataset"))
        self._made: dict[Key, Estimate] = {}

    def points(self) -> list[dict[str, str]]:
        """The settings of all points, in a fixed order; one of quality alone has no gamma, policy and drafting."""
        keys = set(self.acceptance) | set(self.speed)
        measured = {checkpoint(named(key)) for key in keys}
        alone = [dict(zip(CHECKPOINT, key, strict=True)) for key in set(self.quality) - measured]
        keys |= {tuple(found.get(name, "") for name in SETTINGS) for found in alone}
        return [named(key) for key in sorted(keys, key=order)]

    def sums(self, point: Mapping[str, str], measure: str) -> Sums | None:
        """What a measure is made of at a point, by unit; None if it was not measured."""
        key = tuple(point[name] for name in SETTINGS)
        if measure in QUALITY:
            rows = self.quality.get(checkpoint(point))
            return None if rows is None else quality_sums(rows, measure)
        if measure == "accepted_mean":
            return acceptance_sums(self.acceptance[key]) if key in self.acceptance else None
        vanilla = self.vanilla.get((point["policy"], point["dataset"]))
        return None if key not in self.speed or vanilla is None else speedup_columns(self.speed[key], vanilla)

    def value(self, point: Mapping[str, str], measure: str) -> float | None:
        """The measure itself, as in results.csv."""
        sums = self.sums(point, measure)
        if sums is None or sums.empty:
            return None
        if measure == "speedup":
            return float(speedup_of(*sums.to_numpy(float).T))
        total = sums.sum()
        return float(total["over"] / total["under"])

    def compared(self, first: Mapping[str, str], second: Mapping[str, str], measure: str) -> Estimate:
        """The second's value less the first's, its interval paired by unit; empty if either was not measured."""
        if measure in QUALITY and checkpoint(first) == checkpoint(second):
            return Estimate()  # the same draft
        if measure == "kl" and first["T"] != second["T"]:
            return Estimate()  # each is measured at its own T
        names = [tuple(x[n] for n in (CHECKPOINT if measure in QUALITY else SETTINGS)) for x in (first, second)]
        key = (measure, *names[0], *names[1])
        if key not in self._made:
            self._made[key] = self._paired(first, second, measure, key)
        return self._made[key]

    def _paired(self, first: Mapping[str, str], second: Mapping[str, str], measure: str, key: Key) -> Estimate:
        a, b = self.sums(first, measure), self.sums(second, measure)
        if a is None or b is None:
            return Estimate()
        both = a.add_suffix("_first").join(b.add_suffix("_second"), how="inner")
        columns = list(both.to_numpy(float).T)
        between = len(a.columns)  # those of the second begin there

        def statistic(*sums: Any) -> Any:
            first, second = sums[:between], sums[between:]
            if measure == "speedup":
                return speedup_of(*second) - speedup_of(*first)
            (n, s), (m, t) = ([column.sum(axis=-1) for column in side] for side in (first, second))
            return difference((n, s), (m, t))

        unit = "conversations" if measure in QUALITY else "prompts"
        made = self.bootstrap.estimate_units(statistic, columns, ("difference", *key), unit)
        if len(both) == len(a) == len(b) or made.note or made.value is None:
            return made
        return Estimate(made.value, made.low, made.high, f"over {len(both)} shared {unit}")


def named(key: Key) -> dict[str, str]:
    return dict(zip(SETTINGS, key, strict=True))


def checkpoint(point: Mapping[str, str]) -> Key:
    return tuple(point[name] for name in CHECKPOINT)


def order(key: Key) -> tuple[Any, ...]:
    """Numbers by size, empty first."""
    numeric = ("layer", "T", "seed", "gamma")
    values = zip(SETTINGS, key, strict=True)
    return tuple((float(text) if text else -1.0) if name in numeric else text for name, text in values)


def in_sweep(points: Sequence[dict[str, str]], sweep: Mapping[str, Sequence[Any]]) -> list[dict[str, str]]:
    """The points of a sweep's grid, in its order: that in which its lists name their values."""
    grid = {
        name: [setting(str(value), name, "--sweeps") for value in values]
        for name, values in ({"drafting": ["fixed"]} | dict(sweep)).items()
    }
    chosen = [point for point in points if all(point[name] in values for name, values in grid.items())]
    return sorted(chosen, key=lambda point: [values.index(point[name]) for name, values in grid.items()])


def pairs(points: Sequence[dict[str, str]]) -> Iterator[tuple[str, dict[str, str], dict[str, str]]]:
    """(setting, first, second) of all points that differ in this setting alone."""
    for first, second in itertools.combinations(points, 2):
        differing = [name for name in SETTINGS if first[name] != second[name]]
        if len(differing) == 1 and differing[0] in VARIED:
            yield differing[0], first, second


def make_differences(tables: Tables, sweeps: Mapping[str, Mapping[str, Sequence[Any]]]) -> list[dict[str, str]]:
    """The rows of differences.csv, a pair each: the second's values less the first's.

    The cell of the setting that varies is empty, its two values stand in `first` and `second`. What was not
    measured on both sides is empty; a pair of which nothing was is left out.
    """
    points, rows = tables.points(), []
    for name, sweep in sweeps.items():
        for varied, first, second in pairs(in_sweep(points, sweep)):
            found = {measure: tables.compared(first, second, measure) for measure in MEASURES}
            if all(estimate.value is None for estimate in found.values()):
                continue
            row = {"sweep": name, "varied": varied, "first": first[varied], "second": second[varied]}
            row |= first | {varied: ""}
            for measure, estimate in found.items():
                row |= cell(measure, estimate)
            rows.append(row | {"interval_note": note(found)})
    return rows


def make_spread(tables: Tables) -> list[dict[str, str]]:
    """The rows of seed_spread.csv: of points that were trained with several seeds, the mean and the spread over them.

    `<name>_sd` is the standard deviation between seeds (n - 1 below), `<name>_least` and `<name>_most` the extremes.
    """
    found: dict[Key, list[dict[str, str]]] = {}
    for point in tables.points():
        found.setdefault(tuple(point[name] for name in SPREAD_COLUMNS), []).append(point)
    rows = []
    for key, points in found.items():
        seeds = sorted({point["seed"] for point in points}, key=int) if all(p["seed"] for p in points) else []
        if len(seeds) < 2:
            continue
        row = dict(zip(SPREAD_COLUMNS, key, strict=True)) | {"seeds": " ".join(seeds)}
        for measure in MEASURES:
            values = [value for point in points if (value := tables.value(point, measure)) is not None]
            if len(values) == len(points):
                made = (statistics.fmean(values), statistics.stdev(values), min(values), max(values))
                names = (measure, *(f"{measure}_{end}" for end in ("sd", "least", "most")))
                row |= {name: number_text(value) for name, value in zip(names, made, strict=True)}
        rows.append(row)
    return rows


def differences_columns() -> list[str]:
    """All columns of differences.csv in order."""
    ends = [f"{name}{end}" for name in MEASURES for end in ("", "_low", "_high")]
    return [*COLUMNS, *ends, "interval_note", "commit", "config_hash"]


def spread_columns() -> list[str]:
    """All columns of seed_spread.csv in order."""
    ends = [f"{name}{end}" for name in MEASURES for end in ("", "_sd", "_least", "_most")]
    return [*SPREAD_COLUMNS, "seeds", *ends, "commit", "config_hash"]
