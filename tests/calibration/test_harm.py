"""No harm: costs are those of the cycles replayed, the promise holds in simulation, a peek at the data breaks it."""

import numpy as np
import pytest

from selfdraft.calibration.exits import LEVELS, Said, level_text
from selfdraft.calibration.harm import Costs, Replayed, Way, no_harm, ordered, seconds, ways
from selfdraft.calibration.measures import MEASURES, grid
from selfdraft.calibration.pvalues import binomial
from selfdraft.calibration.record import unharmed_thresholds_of
from selfdraft.calibration.rules import last_rejected, learn_then_test
from selfdraft.errors import StudyError

DRAWS, N, DELTA, EPSILON = 2500, 60, 0.1, 0.1
ALLOWED = EPSILON + 3 * np.sqrt(EPSILON * (1 - EPSILON) / DRAWS)
COSTS = Costs((0.3, 0.7), (0.1, 0.1), (1.0, 1.1, 1.2))
MEASURE = "top_probability"


def said(conversation, agrees, sure):
    values = {name: np.array(sure if name != "entropy" else 1 - np.array(sure), dtype=float) for name in MEASURES}
    conversation = np.array(conversation)
    return Said(conversation, np.array(agrees, dtype=bool), values, int(conversation.max()) + 1)


def random_heads(seed, conversations=6, heads=2):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 14, conversations)
    conversation = np.repeat(np.arange(conversations), lengths)
    sure = [rng.random(len(conversation)) for _ in range(heads)]
    return [said(conversation, rng.random(len(conversation)) < one, one) for one in sure]


def by_hand(heads, way, number, costs):
    """One conversation's cost, cycle by cycle, as the loop and the drafter go."""
    places = [place for place in range(len(heads[0].agrees)) if heads[0].conversation[place] == number]
    cost, at = 0.0, 0
    while at < len(places):
        drafted, accepted, going = 0, 0, True
        for place in places[at : at + min(costs.gamma, len(places) - at - 1)]:
            left = None
            for head in range(way.first, way.after):
                if heads[head].values[MEASURE][place] >= way.threshold:
                    left = head
                    break
            cost += sum(costs.ask[way.first : way.after if left is None else left])
            if left is None:
                break
            cost, drafted = cost + costs.reach[left], drafted + 1
            going = going and heads[left].agrees[place]
            accepted += going
        cost, at = cost + costs.verify[drafted], at + int(accepted) + 1
    return cost


def test_a_conversation_costs_what_its_cycles_cost_one_after_the_other():
    heads = random_heads(1)
    found, tokens = seconds(heads, MEASURE, COSTS)
    assert tokens.tolist() == np.bincount(heads[0].conversation).tolist()
    made = ways(2, MEASURE)
    assert len(made) == 3 * len(grid(MEASURE))
    for place in range(0, len(made), 7):
        for number in range(len(tokens)):
            assert found[number, place] == pytest.approx(by_hand(heads, made[place], number, COSTS))


def test_asking_in_vain_harms_and_so_does_drafting_what_is_refused():
    right, wrong = [True] * 9, [False] * 9
    heads = [said([0] * 9, right, [0.5] * 9), said([0] * 9, wrong, [0.8] * 9)]
    made = Replayed(*seconds(heads, MEASURE, COSTS))
    harmed = dict(zip(ways(2, MEASURE), made.harmed()[0], strict=True))
    assert harmed[Way(0, 1, 0.5)] == 0  # two of three tokens drafted and taken
    assert harmed[Way(0, 1, 0.99)] == 1  # never sure: eight times asked in vain
    assert harmed[Way(1, 2, 0.5)] == 1  # never right
    assert harmed[Way(0, 2, 0.5)] == 0


def test_a_token_alone_is_decoded_by_the_target_alone():
    made = Replayed(*seconds([said([0], [False], [0.9])], MEASURE, Costs((0.3,), (0.1,), (1.0, 1.0))))
    assert set(made.cost[0]) == {1.0}
    assert not made.harmed().any()


def test_the_order_goes_from_safe_to_harmful_and_only_to_what_is_faster():
    harmed = np.array([[1, 0, 0, 1, 0], [1, 0, 1, 1, 0], [1, 0, 0, 0, 0]], dtype=float)
    assert ordered(harmed, np.array([1.1, 1.2, 1.4, 1.3, 1.1])).tolist() == [1, 2]
    assert ordered(harmed, np.array([1.9, 1.2, 1.0, 1.3, 1.3])).tolist() == [4, 0]


def planted(seed, risks, draws=DRAWS, n=N):
    """Whether each conversation is harmed by each of many ways, `[draws, n, ways]`, independently of each other."""
    return (np.random.default_rng(seed).random((draws, n, len(risks))) < risks).astype(float)


def chosen(order_on, test_on, speedups):
    """The numbers of the ways that are returned in each draw, -1 for none."""
    places = []
    for first, second in zip(order_on, test_on, strict=True):
        chain = ordered(first, speedups)
        made = learn_then_test(second[:, chain], DELTA, EPSILON, binary=True).place
        places.append(-1 if made is None else int(chain[made]))
    return np.array(places)


@pytest.mark.parametrize(
    "risks", [np.full(20, 0.101), np.array([0.02, 0.3, 0.05, 0.12, 0.08, 0.11])], ids=["just above", "not monotone"]
)
def test_the_share_of_harmed_conversations_stays_below_the_limit_as_often_as_promised(risks):
    speedups = 1 + np.linspace(0, 0.5, len(risks))
    places = chosen(planted(1, risks), planted(2, risks), speedups)
    assert np.mean((places >= 0) & (risks[places] > DELTA)) <= ALLOWED
    if risks.min() < DELTA / 2:
        assert np.mean(places >= 0) > 0.5  # the promise is used and not only kept


def test_an_order_chosen_on_the_conversations_that_test_it_breaks_the_promise():
    risks = np.full(20, 0.101)
    looked_at = planted(3, risks)
    places = chosen(looked_at, looked_at, 1 + np.linspace(0, 0.5, len(risks)))
    assert np.mean(places >= 0) > 3 * ALLOWED


def test_conversations_as_one_sample_of_tokens_would_promise_more_than_holds():
    """One conversation in ten and a half is harmed, whole: tokens as units see far more than there is."""
    lost = planted(4, np.array([0.101]))[..., 0].sum(axis=1)
    by_token = last_rejected(binomial(lost * 30, N * 30, DELTA)[:, None], EPSILON)
    assert np.mean(by_token >= 0) > 2 * ALLOWED


def test_each_level_has_heads_a_threshold_and_its_risk_on_other_conversations_or_says_what_it_would_take():
    parts = []
    for seed, conversations in ((5, 20), (6, 40), (7, 30)):
        rng = np.random.default_rng(seed)
        conversation = np.repeat(np.arange(conversations), 12)
        sure = rng.beta(6, 1, len(conversation))
        parts.append([said(conversation, rng.random(len(sure)) < sure, sure), said(conversation, sure > 2, sure)])
    found = no_harm(*parts, Costs((0.2, 0.7), (0.05, 0.05), (1.0,) * 5), (7, 14), 0.05)
    assert set(found) == set(MEASURES)
    for measure in MEASURES:
        for rule in ("empirical", "learn_then_test"):
            assert list(found[measure][rule]) == [level_text(level) for level in LEVELS]
    of_rule = found[MEASURE]["learn_then_test"]
    low, high = of_rule["0.50"], of_rule["0.95"]
    assert low["heads"] == [7]  # the deeper head is never right
    assert low["threshold"] in grid(MEASURE)
    assert 0 <= low["observed_risk"] <= 0.5
    assert low["observed_speedup"] > 1
    assert high["threshold"] is None
    assert high["conversations_needed"] is None or high["conversations_needed"] >= 59 * 1.5 - 1
    asked = {"thresholds": {"7": {}, "14": {}}, "no_harm": {"gamma": 4, "thresholds": found}}
    assert unharmed_thresholds_of(asked, 0.5, MEASURE, "learn_then_test", "x") == (
        {7: low["threshold"], 14: None},
        4,
    )
    with pytest.raises(StudyError, match=r"x.accuracy_level: no way to ask the heads leaves 0.95 of conversations unh"):
        unharmed_thresholds_of(asked, 0.95, MEASURE, "learn_then_test", "x")
    with pytest.raises(
        StudyError, match=r"x.risk: not calibrated for no_harm; run `selfdraft calibrate --risk no_harm`"
    ):
        unharmed_thresholds_of({"thresholds": {}}, 0.5, MEASURE, "learn_then_test", "x")


def test_without_conversations_to_order_on_or_to_test_nothing_is_promised():
    heads = random_heads(8)
    for order, learn in ((heads[0].of([]), heads[0]), (heads[0], heads[0].of([]))):
        with pytest.raises(StudyError, match="no harm needs a conversation to choose the order on, and others to test"):
            no_harm([order], [learn], [heads[0]], Costs((0.3,), (0.1,), (1.0, 1.0)), (7,), 0.05)
