"""The cost model's arithmetic, and the closed form against a simulation."""

import numpy as np
import pytest

from selfdraft.statistics.cost_model import efficiency, expected_accepted, predicted_speedup, rate_ratio


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("gamma", [1, 4, 8])
def test_expected_accepted_is_equation_1_less_the_bonus(alpha, gamma):
    closed = gamma if alpha == 1 else (1 - alpha ** (gamma + 1)) / (1 - alpha) - 1
    assert expected_accepted(alpha, gamma) == pytest.approx(closed)


def test_expected_accepted_is_what_constant_acceptance_gives():
    rng = np.random.default_rng(0)
    accepted = np.cumprod(rng.random((200_000, 4)) < 0.7, axis=1).sum(axis=1)
    assert accepted.mean() == pytest.approx(expected_accepted(0.7, 4), abs=0.01)


@pytest.mark.parametrize(("alpha", "gamma"), [(-0.1, 4), (1.1, 4), (0.5, 0)])
def test_expected_accepted_refuses_what_is_no_rate_or_no_length(alpha, gamma):
    with pytest.raises(ValueError, match="alpha"):
        expected_accepted(alpha, gamma)


def test_the_prediction_is_theorem_3_8_when_a_verification_costs_one_step():
    alpha, gamma, cost, step = 0.6, 5, 0.1, 0.03
    tokens = expected_accepted(alpha, gamma) + 1
    found = predicted_speedup(tokens, step, gamma * cost * step, step)
    assert found == pytest.approx((1 - alpha ** (gamma + 1)) / ((1 - alpha) * (gamma * cost + 1)))


def test_a_draft_that_costs_nothing_and_accepts_nothing_changes_nothing():
    assert predicted_speedup(1.0, 0.03, 0.0, 0.03) == 1.0
    assert efficiency(rate_ratio(48, 1.5, 48, 1.2), 1.0) == pytest.approx(0.8)
