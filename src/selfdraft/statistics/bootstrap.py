"""BCa bootstrap intervals for functions of sums over independent units (prompts or conversations).

Every estimate of the study is a function of sums over units: kl = Σ kl_sum / Σ tokens, speedup =
(Σ tokens / Σ seconds) ÷ (Σ vanilla tokens / Σ vanilla seconds), and so on. Whole units are drawn
with replacement and all sums of a unit travel together, which is what "paired" means here. `estimate_units`
takes statistics that are no functions of sums (trimmed means).

The interval is BCa (Efron 1987) as scipy computes it, at a level that makes up for few units (`level_of`), with these
rules around it:

- a unit whose sums are all zero says nothing about the ratio and is left out;
- fewer than MIN_UNITS units: no interval, and a note says so;
- all resamples give the same value: low = high = value;
- where BCa is undefined (the value lies at the end of its bootstrap distribution, so that the bias
  correction is infinite): the percentile interval of the same resamples, and a note says so.

Coverage of a nominal 95 % interval, simulated (tests/statistics/test_bootstrap.py and test_speed_coverage.py): see
docs/benchmarks.md.
"""

import hashlib
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

MIN_UNITS = 8
CELLS_AT_ONCE = 1_000_000  # resamples x units held in memory at a time: 8 MB for each sum

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; None where there is none. `note` says why an interval is unusual."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    note: str = ""

    def mapped(self, function: Callable[[float], float]) -> "Estimate":
        """The estimate of a monotone function: BCa and percentile ends may be mapped as they are."""
        value, low, high = (None if x is None else function(x) for x in (self.value, self.low, self.high))
        if low is not None and high is not None and low > high:
            low, high = high, low
        return replace(self, value=value, low=low, high=high)


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made: number of resamples, confidence in (0, 1), seed of the study."""

    resamples: int = 9999
    confidence: float = 0.95
    seed: int = 0

    def generator(self, *names: str) -> np.random.Generator:
        """A generator that depends on the seed and the names alone, not on what was drawn before."""
        digest = hashlib.sha256("\0".join(names).encode()).digest()
        words = np.frombuffer(digest, dtype="<u4").tolist()
        return np.random.default_rng(np.random.SeedSequence([self.seed, *words]))

    def estimate(
        self,
        statistic: Callable[..., Any],
        columns: Sequence[npt.ArrayLike],
        names: Sequence[str],
        unit: str = "units",
    ) -> Estimate:
        """Estimate `statistic(Σ columns[0], Σ columns[1], …)` with its interval.

        Args:
            statistic: takes one sum (float or array) per column, elementwise.
            columns: arrays [units] of per-unit sums, aligned.
            names: what is estimated (point, estimate): they seed the generator.
            unit: what a unit is called in notes.
        Returns: an Estimate; all None if there is no unit or the value is not finite.
        """
        data: Floats = np.stack([np.asarray(column, dtype=np.float64) for column in columns])  # [sums, units]
        data = data[:, np.any(data != 0.0, axis=0)]

        def of_sums(*columns: Floats) -> Any:
            return statistic(*(column.sum(axis=-1) for column in columns))

        return self.estimate_units(of_sums, list(data), names, unit)

    def estimate_units(
        self,
        statistic: Callable[..., Any],
        columns: Sequence[npt.ArrayLike],
        names: Sequence[str],
        unit: str = "units",
    ) -> Estimate:
        """Estimate `statistic(columns[0], columns[1], …)` of arrays `[…, units]`, which it reduces over the last axis.

        Arguments and result as of `estimate`; a unit may have NaN where it has nothing to say.
        """
        data: Floats = np.stack([np.asarray(column, dtype=np.float64) for column in columns])  # [columns, units]
        units = data.shape[1]
        if units == 0:
            return Estimate()
        with np.errstate(divide="ignore", invalid="ignore"):
            value = float(statistic(*data))
        if not math.isfinite(value):
            return Estimate()
        if units < MIN_UNITS:
            return Estimate(value, note=f"no interval: {units} {unit}, {MIN_UNITS} needed")
        level = level_of(self.confidence, units)

        def resampled(*found: Floats, axis: int = -1) -> Floats:
            return np.asarray(statistic(*(np.moveaxis(column, axis, -1) for column in found)))

        with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
            warnings.simplefilter("ignore")  # scipy's DegenerateDataWarning: handled below
            result = stats.bootstrap(
                tuple(data),
                resampled,
                n_resamples=self.resamples,
                batch=max(1, CELLS_AT_ONCE // units),
                vectorized=True,
                paired=True,
                confidence_level=level,
                method="BCa",
                rng=self.generator(*names),
            )
        drawn = np.asarray(result.bootstrap_distribution)
        drawn = drawn[np.isfinite(drawn)]
        if drawn.size == 0 or np.max(np.abs(drawn - value)) <= 1e-12 * max(abs(value), 1e-300):
            return Estimate(value, value, value)
        low, high = (float(end) for end in result.confidence_interval)
        if math.isfinite(low) and math.isfinite(high):
            return Estimate(value, low, high)
        tail = (1.0 - level) / 2.0
        low, high = (float(end) for end in np.quantile(drawn, [tail, 1.0 - tail]))
        return Estimate(value, low, high, note="percentile interval, BCa is undefined")

    def ratio(
        self,
        numerator: npt.ArrayLike,
        denominator: npt.ArrayLike,
        names: Sequence[str],
        unit: str = "units",
    ) -> Estimate:
        """Estimate Σ numerator / Σ denominator over units, arrays [units]."""
        return self.estimate(lambda a, b: a / b, [numerator, denominator], names, unit)


def level_of(confidence: float, units: int) -> float:
    """The level at which a bootstrap over `units` covers the truth with about `confidence`.

    Resamples vary by (n - 1) / n too little, and their spread is itself uncertain as that of a t interval: Hesterberg
    2015 (What teachers should know about the bootstrap, section 5.3), his expanded percentiles.
    """
    tail = stats.t.ppf((1.0 + confidence) / 2.0, units - 1)
    return float(1.0 - 2.0 * stats.norm.cdf(-math.sqrt(units / (units - 1)) * tail))
