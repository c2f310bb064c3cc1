"""BCa intervals: coverage, seeds, and the cases in which there is none."""

import math

import numpy as np
import pytest
from scipy import stats

from selfdraft.statistics import cost_model
from selfdraft.statistics.bootstrap import MIN_UNITS, Bootstrap, Estimate, level_of

QUICK = Bootstrap(resamples=999)


def ratio_data(rng, units):
    """Sums per conversation: lengths of a long-tailed kind, and a KL that is larger in short ones."""
    tokens = np.ceil(rng.lognormal(5.0, 0.6, units))
    return tokens * rng.gamma(4.0, 1.0, units) * (1.0 + 20.0 / tokens), tokens


def speed_data(rng, units):
    """Seconds per prompt for 48 tokens; both methods share how slow a prompt is."""
    slow = rng.lognormal(0.0, 0.3, units)
    tokens = np.full(units, 48.0)
    ours = tokens * 0.02 * slow * rng.lognormal(0.0, 0.15, units)
    return tokens, ours, tokens, tokens * 0.03 * slow * rng.lognormal(0.0, 0.05, units)


def acceptance_data(rng, units):
    """Accepted tokens and cycles per prompt: prompts differ in how well they can be drafted."""
    alpha = rng.beta(12.0, 12.0, units)
    cycles = np.round(64 / (1.0 + 2.0 * alpha))
    return rng.binomial(2 * cycles.astype(int), alpha).astype(float), cycles


def ratio(a, b):
    return a / b


def coverage(data, statistic, units, studies=1000):
    """Share of simulated studies whose interval holds the truth."""
    truth = float(statistic(*(column.sum() for column in data(np.random.default_rng(7), 2_000_000))))
    rng = np.random.default_rng(20240711)
    hits = 0
    for study in range(studies):
        found = QUICK.estimate(statistic, data(rng, units), ("coverage", str(study)))
        hits += found.low <= truth <= found.high
    return hits / studies


@pytest.mark.parametrize(
    ("data", "statistic", "units"),
    [(ratio_data, ratio, 60), (acceptance_data, ratio, 24), (speed_data, cost_model.rate_ratio, 24)],
    ids=["quality, 60 conversations", "acceptance, 24 prompts", "paired speed-up, 24 prompts"],
)
def test_a_95_percent_interval_holds_the_truth_about_95_times_in_100(data, statistic, units):
    assert 0.92 <= coverage(data, statistic, units) <= 0.98


def test_with_ten_units_the_interval_is_hardly_too_narrow():
    assert 0.90 <= coverage(speed_data, cost_model.rate_ratio, units=10) <= 0.97


def test_pairing_narrows_the_interval_of_a_speedup():
    tokens, ours, _, theirs = speed_data(np.random.default_rng(1), 24)
    paired = QUICK.estimate(cost_model.rate_ratio, [tokens, ours, tokens, theirs], ("paired",))
    shuffled = np.random.default_rng(2).permutation(theirs)
    broken = QUICK.estimate(cost_model.rate_ratio, [tokens, ours, tokens, shuffled], ("paired",))
    assert paired.high - paired.low < 0.6 * (broken.high - broken.low)


def test_the_interval_is_scipys_bca():
    kl, tokens = ratio_data(np.random.default_rng(3), 30)
    bootstrap = Bootstrap(resamples=2000, confidence=0.9)
    found = bootstrap.ratio(kl, tokens, ("point", "kl"))
    expected = stats.bootstrap(
        (kl, tokens),
        lambda a, b: a.sum() / b.sum(),
        n_resamples=2000,
        vectorized=False,
        paired=True,
        confidence_level=level_of(0.9, 30),
        method="BCa",
        rng=bootstrap.generator("point", "kl"),
    ).confidence_interval
    assert found.value == pytest.approx(kl.sum() / tokens.sum())
    assert (found.low, found.high) == pytest.approx(tuple(expected))


def test_the_level_makes_up_for_few_units_alone():
    assert level_of(0.95, 10) == pytest.approx(0.983, abs=0.002)  # Hesterberg 2015: 1.2 in place of 2.5 % at n = 10
    assert level_of(0.95, 100_000) == pytest.approx(0.95, abs=1e-4)


def test_an_estimate_depends_on_its_name_and_the_seed_and_not_on_what_was_drawn_before():
    kl, tokens = ratio_data(np.random.default_rng(4), 20)
    alone = QUICK.ratio(kl, tokens, ("point", "kl"))
    other = QUICK.ratio(kl, tokens, ("point", "ce"))
    assert QUICK.ratio(kl, tokens, ("point", "kl")) == alone
    assert other != alone
    assert Bootstrap(resamples=999, seed=1).ratio(kl, tokens, ("point", "kl")) != alone
    assert QUICK.generator("ab", "c").random() != QUICK.generator("a", "bc").random()


def test_numpys_global_seed_is_neither_read_nor_moved():
    kl, tokens = ratio_data(np.random.default_rng(4), 20)
    np.random.seed(0)
    before = QUICK.ratio(kl, tokens, ("x",))
    state = np.random.get_state()[1].tolist()
    np.random.seed(1)
    assert QUICK.ratio(kl, tokens, ("x",)) == before
    np.random.seed(0)
    QUICK.ratio(kl, tokens, ("x",))
    assert np.random.get_state()[1].tolist() == state


@pytest.mark.parametrize("rate", [0.0, 1.0, 0.1, 3.7])
def test_units_that_all_agree_give_an_interval_of_no_width(rate):
    tokens = np.arange(1.0, 20.0)
    found = QUICK.ratio(rate * tokens, tokens, ("same",))
    assert (found.low, found.high) == (found.value, found.value)
    assert found.value == pytest.approx(rate)
    assert found.note == ""


def test_fewer_than_eight_units_give_a_value_and_a_note():
    few = np.ones(MIN_UNITS - 1)
    found = QUICK.ratio(2 * few, few, ("few",), "prompts")
    assert found == Estimate(2.0, None, None, "no interval: 7 prompts, 8 needed")


def test_units_that_contribute_nothing_do_not_count():
    kl, tokens = ratio_data(np.random.default_rng(5), 12)
    padded = QUICK.ratio(np.append(kl, [0, 0]), np.append(tokens, [0, 0]), ("padded",))
    assert padded == QUICK.ratio(kl, tokens, ("padded",))
    assert QUICK.ratio(np.zeros(9), np.zeros(9), ("none",)) == Estimate()
    assert QUICK.ratio(np.ones(9), np.zeros(9), ("over nothing",)) == Estimate()


def test_where_bca_is_undefined_the_percentile_interval_stands_in_and_says_so():
    values = np.sqrt(np.arange(10.0, 30.0))

    def outside(total):  # a statistic whose value lies beyond all its resamples
        return np.where(total == values.sum(), 1e6, total)

    found = Bootstrap(resamples=99).estimate(outside, [values], ("outside",))
    assert math.isfinite(found.low)
    assert math.isfinite(found.high)
    assert "percentile" in found.note


def test_a_monotone_function_carries_the_interval_along_in_order():
    rate = Estimate(0.5, 0.4, 0.7)
    assert rate.mapped(lambda x: 1 - x) == Estimate(0.5, pytest.approx(0.3), 0.6)
    assert Estimate(2.0).mapped(math.exp) == Estimate(math.exp(2.0))


def test_ten_thousand_resamples_of_many_units_stay_small_in_memory():
    import tracemalloc

    kl, tokens = ratio_data(np.random.default_rng(6), 5000)
    tracemalloc.start()
    Bootstrap(resamples=9999).ratio(kl, tokens, ("large",))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150e6  # all at once: 9,999 x 5,000 x 8 bytes x 3 = 1.2 GB
