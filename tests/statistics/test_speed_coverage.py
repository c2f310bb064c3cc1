"""The interval of a speedup holds the truth about 95 times in 100, also where other work spoils a fifth of the runs.

Simulated at the size of the default study's speed runs. `python tests/statistics/test_speed_coverage.py` prints the
figures of docs/benchmarks.md.
"""

import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import yaml

from selfdraft.statistics.bootstrap import Bootstrap
from selfdraft.statistics.speeds import middle, speedup_of

SPEED = yaml.safe_load((Path(__file__).parents[2] / "config.yaml").read_text())["speed"]
PROMPTS, REPEATS, TOKENS = SPEED["prompts"], SPEED["repeats"], SPEED["max_new_tokens"]
GAMMA = 4
OUTLIERS = (0.0, 0.05, 0.2)


def runs(rng, prompts, outliers, adaptive):
    """Tokens and cycles of each prompt, and the logarithm of a vanilla step over a cycle for each of its repeats.

    Prompts differ in how often their drafts are accepted; steps share how slow the machine is just then; a
    cycle of an adaptive drafter lasts now long and now short. A share of all runs takes 1 to about 10 times as long.
    """
    alpha = rng.beta(4.0, 6.0, prompts)
    cycles, tokens = np.zeros((prompts, REPEATS)), np.zeros((prompts, REPEATS))
    while (going := tokens < TOKENS).any():
        accepted = np.cumprod(rng.random((prompts, REPEATS, GAMMA)) < alpha[:, None, None], axis=2).sum(axis=2)
        cycles += going
        tokens += going * (accepted + 1)
    mood = rng.lognormal(0.0, 0.1, (prompts, REPEATS))
    times = []
    for steps in (1.0, 5.0):
        if adaptive and steps > 1:
            steps = 1.0 + 3.0 * rng.beta(1.0, 3.0, (prompts, REPEATS))
        bad = rng.random((prompts, REPEATS)) < outliers
        held_up = np.where(bad, 1.0 + rng.exponential(3.0, (prompts, REPEATS)), 1.0)
        times.append(mood * steps * rng.lognormal(0.0, 0.03, (prompts, REPEATS)) * held_up)
    return [tokens.sum(axis=1), cycles.sum(axis=1), *np.log(times[0] / times[1]).T]


@cache
def truth_of(adaptive):
    """What a study without end and without outliers would find."""
    return float(speedup_of(*runs(np.random.default_rng(7), 200_000, 0.0, adaptive)))


def coverage(outliers, adaptive, studies, resamples):
    """Share of simulated studies whose interval holds the truth."""
    truth, bootstrap, rng = truth_of(adaptive), Bootstrap(resamples), np.random.default_rng(20261126)
    hits = 0
    for study in range(studies):
        found = bootstrap.estimate_units(speedup_of, runs(rng, PROMPTS, outliers, adaptive), ("coverage", str(study)))
        hits += found.low <= truth <= found.high
    return hits / studies


@pytest.mark.parametrize("outliers", OUTLIERS)
def test_the_interval_covers_with_outlying_runs(outliers):
    """Quickly: a study in twenty may miss, and 150 studies tell that within five in a hundred."""
    assert 0.90 <= coverage(outliers, adaptive=False, studies=150, resamples=299) <= 0.995


@pytest.mark.exhaustive
@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("outliers", OUTLIERS)
def test_the_interval_covers_93_to_97_in_a_hundred(outliers, adaptive):
    assert 0.93 <= coverage(outliers, adaptive, studies=2000, resamples=999) <= 0.97


def test_the_ratio_of_sums_would_not_have_covered():
    """What single bad runs do to the estimator that they can move: its value is far off, the robust one's is not."""
    rng = np.random.default_rng(1)
    clean = truth_of(False)
    off = {"robust": [], "sums": []}
    for _ in range(100):
        tokens, cycles, *ratios = runs(rng, PROMPTS, 0.05, False)
        off["robust"].append(abs(math.log(speedup_of(tokens, cycles, *ratios) / clean)))
        sums = tokens.sum() / cycles.sum() * np.mean(np.exp(ratios))
        off["sums"].append(abs(math.log(sums / clean)))
    assert np.quantile(off["sums"], 0.9) > 2 * np.quantile(off["robust"], 0.9)


def test_the_middle_is_the_mean_of_the_middle_half_whatever_is_missing():
    values = np.array([5.0, 1.0, np.nan, 3.0, 2.0, 1e9, np.nan, -1e9, 4.0, 6.0])
    assert middle(values) == pytest.approx(np.mean([2.0, 3.0, 4.0, 5.0]))
    assert middle(np.array([1.0, 2.0, 3.0])) == pytest.approx((0.25 * 1 + 2 + 0.25 * 3) / 1.5)
    assert middle(np.stack([values, values + 1])) == pytest.approx(middle(values) + np.array([0.0, 1.0]))
    assert np.isnan(middle(np.array([np.nan])))


if __name__ == "__main__":
    for adaptive in (False, True):
        found = [coverage(outliers, adaptive, 1000, 999) for outliers in OUTLIERS]
        print("adaptive" if adaptive else "fixed", PROMPTS, REPEATS, *found)
