"""Costs from a run's own benchmark files: the coefficients with which the plan would have told its seconds."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from selfdraft.errors import StudyError
from selfdraft.files import read_json
from selfdraft.plan.costs import BY_STAGE, Costs, Range
from selfdraft.plan.jobs import Job
from selfdraft.provenance.durations import job as benchmarked

# How far, as a logarithm, a coefficient may lie from its former value before that counts as much as a job that
# is told wrong by NOISE: what a run does not show stays as it was.
NOISE = 0.15
WIDTH = {"start_s": 0.7, "pass_s": 1.0, "of_peak": 0.7, "units_s": 0.7}
LEAST_BAND = 0.1  # a stage is never told better than this, as a logarithm
SHOWN = 0.2  # of a stage's seconds must be more than starting, or its rate is not taken from the run


def measured_seconds(results: str | Path, jobs: Sequence[Job]) -> dict[str, float]:
    """The seconds of the jobs whose benchmark file is under `results/benchmarks`, by the job's name.

    Raises StudyError if there is none.
    """
    found = {}
    for job in jobs:
        path = Path(results) / "benchmarks" / job.benchmark
        if job.benchmark and path.is_file():
            ran = benchmarked(path)
            if ran is None or ran["seconds"] is None:
                raise StudyError(f"{path}: not a benchmark file of Snakemake, which has a column s")
            found[job.name] = ran["seconds"]
    if not found:
        raise StudyError(f"{results}/benchmarks: no file of a job of this config; is it another study's folder?")
    return found


def machine_peaks(results: str | Path) -> dict[str, Any]:
    """The run's machine.json. Raises StudyError if it is not there."""
    path = Path(results) / "machine.json"
    raw = read_json(path)
    if not isinstance(raw, dict) or not {"device", "read_bandwidth_gb_s", "matrix_gflop_s"} <= set(raw):
        raise StudyError(f"{path}: not made by `selfdraft machine`")
    return raw


def calibrated(
    base: Costs, jobs: Sequence[Job], seconds: dict[str, float], machine: dict[str, Any], name: str
) -> Costs:
    """`base` with the coefficients that fit the measured seconds best, as least squares of logarithms.

    What a stage's jobs were off by becomes its range. Where a run was too short to show a rate, and for stages
    that it did not have, `base` stands, and the assumptions say so.
    """
    from scipy.optimize import least_squares

    known = [job for job in jobs if job.name in seconds]
    stages = sorted({job.stage for job in known})
    base = replace(
        base,
        gflop_s={dtype: float(rate) for dtype, rate in machine["matrix_gflop_s"].items()},
        bandwidth_gb_s=float(machine["read_bandwidth_gb_s"]),
    )
    keys = [("pass_s", ""), *((kind, stage) for kind in BY_STAGE for stage in stages if stage in getattr(base, kind))]

    def with_factors(logs: Sequence[float]) -> Costs:
        made: dict[str, Any] = {kind: dict(getattr(base, kind)) for kind in BY_STAGE}
        for (kind, stage), log in zip(keys, logs, strict=True):
            if stage:
                made[kind][stage] = (made[kind][stage][1] * math.exp(log),) * 3
            else:
                made[kind] = (getattr(base, kind)[1] * math.exp(log),) * 3
        return replace(base, **made)

    def misses(logs: Sequence[float]) -> list[float]:
        costs = with_factors(logs)
        of_jobs = [math.log(costs.seconds(job) / seconds[job.name]) / NOISE for job in known]
        return [*of_jobs, *(log / WIDTH[kind] for (kind, _), log in zip(keys, logs, strict=True))]

    fitted = with_factors(least_squares(misses, [0.0] * len(keys), loss="soft_l1").x)
    off: dict[str, list[float]] = defaultdict(list)
    working: dict[str, float] = defaultdict(float)
    for job in known:
        told = fitted.seconds(job)
        off[job.stage].append(math.log(told / seconds[job.name]))
        working[job.stage] += (told - fitted.start_s[job.stage][1]) / told
    bands = {stage: max(LEAST_BAND, math.sqrt(sum(x * x for x in found) / len(found))) for stage, found in off.items()}
    shown = {stage for stage, share in working.items() if share / len(off[stage]) >= SHOWN}
    with_rates = {stage for stage in stages if stage in base.of_peak or stage in base.units_s}

    def ranges(kind: str, sign: int, chosen: set[str]) -> dict[str, Range]:
        own: dict[str, Range] = getattr(fitted, kind)
        return {
            stage: _around(own[stage][1], sign * bands[stage]) if stage in chosen else old
            for stage, old in getattr(base, kind).items()
        }

    assumptions = []
    if with_rates - shown:
        assumptions.append(
            f"The run was too short to show how fast these work, which are told as by {base.name}: "
            f"{', '.join(sorted(with_rates - shown))}."
        )
    missing = sorted(set(base.start_s) - set(stages))
    if missing:
        assumptions.append(f"Not in the run, told as by {base.name}: {', '.join(missing)}.")
    if assumptions:
        assumptions += [f"{base.name}: {line}" for line in (base.origin, *base.assumptions)]
    return replace(
        fitted,
        name=name,
        device=machine["device"],
        origin=f"Fitted to the {len(known)} jobs of a run on {machine.get('gpu') or machine.get('cpu')}.",
        peaks_from="measured by `selfdraft machine`",
        start_s=ranges("start_s", 1, set(stages)),
        of_peak=ranges("of_peak", -1, shown),
        units_s=ranges("units_s", 1, shown),
        pass_s=_around(fitted.pass_s[1], max(bands.values())),
        measured={stage: len(found) for stage, found in sorted(off.items())},
        start_only=sorted(with_rates - shown),
        assumptions=assumptions,
        slots=[int(machine.get("cores") or 1)] if machine["device"] == "cpu" else base.slots,
        shared=machine["device"] == "cpu",
    )


def _around(value: float, band: float) -> Range:
    """Best, typical, worst; a negative band for what is better when it is larger."""
    low, middle, high = (float(f"{value * math.exp(part):.4g}") for part in (-band, 0.0, band))
    return low, middle, high
