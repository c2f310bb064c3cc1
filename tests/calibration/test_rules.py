"""What the rules promise holds in simulation, with planted risks; and known mistakes break the promise."""

import numpy as np
import pytest
from scipy import stats

from selfdraft.calibration.pvalues import binomial, conversations_needed, hoeffding_bentkus
from selfdraft.calibration.rules import check_chances, empirical, last_rejected, learn_then_test
from selfdraft.errors import StudyError

DRAWS, N, DELTA, EPSILON = 4000, 100, 0.1, 0.1
RISKS = np.array([0.0, 0.02, 0.05, 0.1001, 0.12, 0.3])  # of thresholds, from conservative to permissive
ALLOWED = EPSILON + 3 * np.sqrt(EPSILON * (1 - EPSILON) / DRAWS)


def planted(seed, risks=RISKS, draws=DRAWS, n=N):
    """How many of `n` conversations lose at each threshold, `[draws, thresholds]`: who loses does so further on too."""
    uniform = np.random.default_rng(seed).random((draws, n, 1))
    return (uniform < risks).sum(axis=1)


def violations(places, risks=RISKS, delta=DELTA):
    """The share of draws in which the risk at the chosen place is above the limit; -1 has none."""
    return np.mean((places >= 0) & (risks[places] > delta))


@pytest.mark.parametrize("p_of", [binomial, hoeffding_bentkus])
@pytest.mark.parametrize("risks", [RISKS, np.array([0.0, 0.15, 0.0]), np.array([0.2, 0.25, 0.3])], ids=str)
def test_the_risk_stays_below_the_limit_as_often_as_promised(p_of, risks):
    assert violations(last_rejected(p_of(planted(1, risks), N, DELTA), EPSILON), risks) <= ALLOWED


def test_the_promise_is_used_and_not_only_kept():
    """The last threshold within the limit is found often: a rule that returns nothing would keep every promise."""
    chosen = last_rejected(binomial(planted(2), N, DELTA), EPSILON)
    assert np.mean(chosen >= 2) > 0.5
    assert violations(chosen) > EPSILON / 4  # a true hypothesis next to the limit is rejected about as often as allowed


def shares(seed, draws, n):
    """Losses between 0 and 1 whose mean is DELTA, `[draws, n]`: most are 0, some are shares, some 1."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random((draws, n)) < 0.2, rng.choice([0.25, 0.5, 0.75], (draws, n)), 0.0)


@pytest.mark.parametrize("n", [20, 100])
@pytest.mark.parametrize("kind", ["binomial", "hoeffding_bentkus of 0 and 1", "hoeffding_bentkus of shares"])
def test_p_values_are_super_uniform_at_the_boundary(kind, n):
    draws = 20_000
    if kind.endswith("shares"):
        totals = shares(3, draws, n).sum(axis=1)
    else:
        totals = np.random.default_rng(3).binomial(n, DELTA, draws)
    p = (binomial if kind == "binomial" else hoeffding_bentkus)(totals, n, DELTA)
    assert np.isfinite(p).all()
    for u in (0.001, 0.01, 0.05, 0.1, 0.2, 0.5, 0.9):
        assert np.mean(p <= u) <= u + 3 * np.sqrt(u * (1 - u) / draws)


def test_no_p_value_is_above_hoeffdings_nor_below_the_exact_one():
    totals = np.arange(0, 101)
    p = hoeffding_bentkus(totals, 100, 0.1)
    assert (p <= np.exp(-2 * 100 * np.maximum(0, 0.1 - totals / 100) ** 2) + 1e-12).all()
    assert (p >= binomial(totals, 100, 0.1) - 1e-12).all()
    assert (np.diff(p) >= 0).all()


@pytest.mark.parametrize("p_of", [binomial, hoeffding_bentkus])
def test_a_risk_of_zero_is_a_number_and_so_is_a_limit_of_zero_or_one(p_of):
    assert p_of(0, 59, 0.05) == pytest.approx(0.95**59)
    assert p_of(0, 10, 0.0) == 1
    assert p_of(3, 10, 0.0) == 1
    assert np.isfinite(p_of(np.arange(11), 10, 1.0)).all()


@pytest.mark.parametrize(("delta", "needed"), [(0.05, 59), (0.02, 149)])
@pytest.mark.parametrize("binary", [True, False])
def test_conversations_needed_without_a_loss_are_those_of_the_exact_test(delta, needed, binary):
    assert conversations_needed(0, delta, 0.05, binary) == needed


def test_conversations_needed_are_the_fewest_that_do():
    needed = conversations_needed(0.05, 0.1, 0.05)
    counts = np.arange(1, needed + 1)
    assert np.flatnonzero(hoeffding_bentkus(0.05 * counts, counts, 0.1) <= 0.05).tolist() == [needed - 1]
    needed = conversations_needed(0.05, 0.1, 0.05, binary=True)
    p = binomial(np.ceil(np.arange(1, needed + 1) * 0.05 - 1e-9), np.arange(1, needed + 1), 0.1)
    assert np.flatnonzero(p <= 0.05).tolist() == [needed - 1]


def test_where_no_number_of_conversations_would_do_none_is_named():
    assert conversations_needed(0.1, 0.1, 0.05) is None
    assert conversations_needed(0.2, 0.1, 0.05) is None


def test_the_last_rejected_is_the_one_before_the_first_that_is_not():
    p = np.array([[0.01, 0.02, 0.2, 0.01], [0.3, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.05], [0.0, np.nan, 0.0, 0.0]])
    assert last_rejected(p, 0.05).tolist() == [1, -1, 3, 0]


def losses_of(rates, n):
    """`n` conversations of which the shares `rates` lose at each threshold."""
    return (np.arange(n)[:, None] < np.array(rates) * n).astype(float)


def test_a_level_that_cannot_be_reached_says_how_many_conversations_it_would_take():
    few = learn_then_test(losses_of([0.0, 0.5], 20), 0.05, 0.05)
    assert (few.place, few.risk, few.needed) == (None, 0.0, 59)
    hopeless = learn_then_test(losses_of([0.3, 0.5], 200), 0.05, 0.05)
    assert (hopeless.place, hopeless.risk, hopeless.needed) == (None, 0.3, None)
    assert empirical(losses_of([0.3, 0.5], 200), 0.05).place is None
    assert learn_then_test(losses_of([0.0, 0.5], 59), 0.05, 0.05).place == 0


def test_the_chosen_threshold_is_monotone_in_the_limit_and_the_chance_to_be_wrong():
    losses = losses_of([0.0, 0.02, 0.05, 0.1, 0.2, 0.4], 200)

    def chosen(rule, *numbers):
        place = rule(losses, *numbers).place
        return -1 if place is None else place

    by_limit = [chosen(learn_then_test, delta, 0.05) for delta in (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)]
    assert by_limit == sorted(by_limit)
    assert by_limit[0] == -1
    assert by_limit[-1] == 5
    by_chance = [chosen(learn_then_test, 0.1, epsilon) for epsilon in (1e-9, 0.01, 0.1, 0.5)]
    assert by_chance == sorted(by_chance)
    assert len(set(by_chance)) > 1
    assert all(chosen(empirical, delta) >= chosen(learn_then_test, delta, 0.05) for delta in (0.0, 0.05, 0.1, 0.3))


def test_chances_out_of_range_and_no_conversations_are_one_clear_line():
    with pytest.raises(StudyError, match=r"delta: 1.5 is not in \[0, 1\]"):
        check_chances(1.5, 0.05)
    with pytest.raises(StudyError, match=r"epsilon: 0 is not in \(0, 1\)"):
        check_chances(0.1, 0)
    with pytest.raises(StudyError, match="no conversation to look at"):
        empirical(np.zeros((0, 3)), 0.1)


# Tests of the test: each known mistake breaks the promise.


def test_the_first_failing_threshold_breaks_the_promise():
    risks = np.array([0.0, 0.05, 0.2])
    first_failing = np.minimum(last_rejected(binomial(planted(4, risks), N, DELTA), EPSILON) + 1, 2)
    assert violations(first_failing, risks) > 3 * ALLOWED


def test_an_order_chosen_after_looking_breaks_the_promise():
    """Twenty thresholds just above the limit: the one that looks best is tested first."""
    risks = np.full(20, 0.101)
    totals = np.random.default_rng(5).binomial(N, risks, (DRAWS, 20))
    fixed = last_rejected(binomial(totals, N, DELTA), EPSILON)
    looked = last_rejected(binomial(np.sort(totals, axis=1), N, DELTA), EPSILON)
    assert np.mean(fixed >= 0) <= ALLOWED
    assert np.mean(looked >= 0) > 3 * ALLOWED


def test_tokens_as_units_break_the_promise():
    """Conversations differ: one in ten always loses, tokens of one conversation are not independent of each other."""
    conversations, tokens = 60, 30
    rng = np.random.default_rng(6)
    odds = stats.beta(0.101 * 0.5, 0.899 * 0.5).rvs((DRAWS, conversations), random_state=rng)
    lost = rng.binomial(tokens, odds)  # of each conversation's tokens
    by_conversation = hoeffding_bentkus((lost / tokens).sum(axis=1), conversations, DELTA)
    by_token = binomial(lost.sum(axis=1), conversations * tokens, DELTA)
    assert np.mean(by_conversation <= EPSILON) <= ALLOWED
    assert np.mean(by_token <= EPSILON) > 2 * ALLOWED


def test_the_data_that_a_threshold_was_chosen_on_do_not_show_that_the_promise_is_broken():
    """The empirical rule is always within the limit on its own data, and above it on others half of the time."""
    totals = planted(7, np.array([0.0, 0.05, 0.095, 0.105, 0.11]))
    within = totals <= DELTA * N
    chosen = within.shape[1] - 1 - np.argmax(within[:, ::-1], axis=1)
    assert within[np.arange(DRAWS), chosen].all()
    assert violations(chosen, np.array([0.0, 0.05, 0.095, 0.105, 0.11])) > 3 * ALLOWED
