"""What is promised of heads that nobody verifies holds in simulation, by the losses and rules of `calibrate`."""

import numpy as np
import pytest

from selfdraft.calibration.exits import Said
from selfdraft.calibration.joint import first_exits, joint_losses, joint_thresholds
from selfdraft.calibration.measures import grid
from selfdraft.calibration.pvalues import hoeffding_bentkus
from selfdraft.calibration.record import joint_threshold_of
from selfdraft.calibration.rules import last_rejected
from selfdraft.errors import StudyError

DRAWS, N, TOKENS, DELTA, EPSILON = 2000, 60, 10, 0.2, 0.1
ALLOWED = EPSILON + 3 * np.sqrt(EPSILON * (1 - EPSILON) / DRAWS)
MEASURE = "top_probability"


def planted(seed, conversations):
    """Two heads that know how sure they may be of most tokens; of hard conversations both are too sure."""
    rng = np.random.default_rng(seed)
    hard = np.repeat(rng.random(conversations) < 0.15, TOKENS)
    conversation = np.repeat(np.arange(conversations), TOKENS)
    heads = []
    for skill in (1.0, 2.5):
        sure = rng.beta(skill, 1.0, len(conversation))
        right = rng.random(len(conversation)) < np.where(hard, 0.45 * sure, sure)
        heads.append(
            Said(conversation, right, dict.fromkeys(("entropy", "top_probability", "margin"), sure), conversations)
        )
    return heads


def losses(heads):
    return joint_losses(heads, first_exits(heads, MEASURE)[1])


def test_the_share_of_tokens_that_stray_stays_below_the_limit_as_often_as_promised():
    risks = losses(planted(1, 50_000)).mean(axis=0)  # of each threshold, as good as exact
    assert risks[0] < DELTA < risks[-1]
    drawn = losses(planted(2, DRAWS * N)).reshape(DRAWS, N, -1)
    chosen = last_rejected(hoeffding_bentkus(drawn.sum(axis=1), N, DELTA), EPSILON)
    violated = np.mean((chosen >= 0) & (risks[chosen] > DELTA))
    assert violated <= ALLOWED
    assert np.mean(chosen > 5) > 0.5  # the promise is used and not only kept
    within = drawn.mean(axis=1) <= DELTA
    plain = within.shape[1] - 1 - np.argmax(within[:, ::-1], axis=1)
    assert np.mean(risks[plain] > DELTA) > 2 * ALLOWED  # the empirical rule promises nothing


def test_a_token_leaves_at_its_first_sure_head_and_counts_among_all_tokens():
    conversation = np.array([0, 0, 0, 0, 1, 1])
    shallow = np.array([0.95, 0.3, 0.2, 0.95, 0.1, 0.1])
    deep = np.array([0.1, 0.95, 0.2, 0.95, 0.1, 0.1])
    first = Said(conversation, np.array([True, False, True, False, False, False]), {MEASURE: shallow}, 2)
    second = Said(conversation, np.array([False, False, True, True, False, False]), {MEASURE: deep}, 2)
    leaves, errors = first_exits([first, second], MEASURE)
    place = int(np.flatnonzero(np.isclose(grid(MEASURE), 0.9))[0])
    assert leaves[:, place].tolist() == [3, 0]
    assert errors[:, place].tolist() == [2, 0]  # the second's and the fourth token; the deep head is not asked of that
    assert joint_losses([first, second], errors)[:, place].tolist() == [0.5, 0.0]


def test_a_level_that_is_not_reached_and_a_calibration_without_such_are_refused():
    few = planted(3, 12)
    record = {"joint": joint_thresholds(few, few, 0.05)}
    found = joint_threshold_of(record, 0.5, MEASURE, "learn_then_test", "lossy")
    assert found in grid(MEASURE)
    at = record["joint"][MEASURE]["learn_then_test"]["0.50"]
    assert at["observed_risk"] == at["risk"] <= 0.5
    assert 0 < at["exit_rate"] <= 1
    with pytest.raises(StudyError, match=r"lossy.accuracy_level: 0.95 is not reached without verification \(it would"):
        joint_threshold_of(record, 0.95, MEASURE, "learn_then_test", "lossy")
    with pytest.raises(StudyError, match=r"0.42 was not calibrated; there are 0.50, 0.55"):
        joint_threshold_of(record, 0.42, MEASURE, "learn_then_test", "lossy")
    with pytest.raises(StudyError, match="were not calibrated together; run `selfdraft calibrate` again"):
        joint_threshold_of({"thresholds": {}}, 0.5, MEASURE, "empirical", "lossy")
