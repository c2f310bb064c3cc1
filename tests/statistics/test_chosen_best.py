"""The best of several against the best of others: planted differences are covered, luck in choosing finds none."""

import numpy as np
import pandas as pd
import pytest

from selfdraft.statistics import chosen_best
from selfdraft.statistics.bootstrap import Bootstrap
from selfdraft.statistics.chosen_best import Sums, compare_best, halves
from selfdraft.statistics.differences import acceptance_sums
from selfdraft.statistics.speeds import speedup_of

PROMPTS = 24


def study(chance, first, second, prompts=PROMPTS, noise=0.1, repeats=2):
    """Points with these mean gains of a cycle in %; prompts are far more unlike than points, each has its luck."""
    hard = chance.normal(0, 0.5, prompts)
    made = []
    for gain in (*first, *second):
        own = hard + chance.normal(0, noise, prompts) + gain / 100
        columns = {"new_tokens": np.full(prompts, 40.0), "cycles": np.full(prompts, 20.0)}
        columns |= {f"ratio{n}": own + chance.normal(0, 0.02, prompts) for n in range(repeats)}
        made.append(Sums(pd.DataFrame(columns, index=[f"p{n:02}" for n in range(prompts)])))
    return made[: len(first)], made[len(first) :]


def found(chance, first, second, runs=70, resamples=150, **about):
    """Estimates of the difference, a study each."""
    bootstrap = Bootstrap(resamples)
    return [compare_best(*study(chance, first, second, **about), bootstrap, str(run)).speedup for run in range(runs)]


def significant(made):
    return sum(one.low > 0 for one in made) / len(made), sum(one.high < 0 for one in made) / len(made)


def test_with_nothing_to_choose_it_is_the_plain_paired_difference():
    first, second = study(np.random.default_rng(0), [0], [30])
    made = compare_best(first, second, Bootstrap(300), "a")
    sides = [speedup_of(*points[0].speed.to_numpy(float).T) for points in (first, second)]
    assert made.speedup.value == pytest.approx(sides[1] - sides[0])
    assert made.chosen == ((0, 0, 0), (0, 0, 0))
    assert made.accepted_mean.value is None  # of no point known


def test_a_clear_difference_is_seen_through_prompts_that_differ_far_more_and_only_in_pairs():
    first, second = study(np.random.default_rng(1), [0, -20], [15, -10], noise=0.05)
    made = compare_best(first, second, Bootstrap(600), "a")
    assert made.chosen == ((0, 0, 0), (0, 0, 0))
    assert 0 < made.speedup.low < made.speedup.value < made.speedup.high
    names = list(second[0].speed.index)
    mixed = [Sums(point.speed.set_axis(np.roll(names, 7), axis=0)) for point in second]  # the pairs are torn apart
    apart = compare_best(first, mixed, Bootstrap(600), "a").speedup
    assert apart.low < 0 < apart.high


@pytest.mark.parametrize(("first", "second"), [([0, -30], [20, -20]), ([5, -30, -30], [-40, 0])])
def test_intervals_cover_a_planted_difference_of_the_best(first, second):
    mean = 2 * np.exp([max(first) / 100, max(second) / 100])
    made = found(np.random.default_rng(2), first, second)
    covered = sum(one.low <= mean[1] - mean[0] <= one.high for one in made) / len(made)
    assert 0.89 <= covered <= 0.99


def test_luck_among_equals_is_no_difference_and_choosing_on_the_same_prompts_would_make_it_one(monkeypatch):
    equal = ([0], [0] * 6)
    above, below = significant(found(np.random.default_rng(3), *equal, noise=0.2))
    assert above <= 0.08
    assert below <= 0.08
    composed = chosen_best._composed
    monkeypatch.setattr(
        chosen_best, "_composed", lambda table, half, chosen: composed(table, half, chosen[::-1])
    )  # each half is given to what it chose itself
    above, _ = significant(found(np.random.default_rng(3), *equal, noise=0.2))
    assert above > 0.14


def test_acceptance_is_compared_as_speed_chose_and_prompts_that_were_not_timed_count_for_it_alone():
    chance = np.random.default_rng(4)
    first, second = study(chance, [0, 40], [20, -40], noise=0.01)
    names = [f"p{n:02}" for n in range(PROMPTS + 10)]
    rows = pd.DataFrame({"prompt": np.repeat(names, 2), "cut": 0})
    of = [acceptance_sums(rows.assign(accepted=np.tile([k, k + 1], len(names)))) for k in (3, 1, 2, 0)]
    points = [Sums(one.speed, accepted) for one, accepted in zip([*first, *second], of, strict=True)]
    made = compare_best(points[:2], points[2:], Bootstrap(300), "a")
    assert made.chosen == ((1, 1, 1), (0, 0, 0))  # the fastest, not the most accepted
    assert made.accepted_mean.value == pytest.approx(2.5 - 1.5)
    assert (made.accepted_mean.low, made.accepted_mean.note) == (made.accepted_mean.value, "")
    assert (made.speedup.value < 0, made.speedup.note) == (True, "")
    few = [Sums(point.speed.iloc[3:], point.accepted) for point in points[:1]]
    assert "over 21 shared prompts" in compare_best(few, points[2:], Bootstrap(300), "a").speedup.note


def test_halves_are_of_one_size_and_follow_from_the_seed_alone():
    names = [f"p{n}" for n in range(17)]
    made = halves(names, Bootstrap(9, seed=1), "a")
    assert made.sum() == 8
    assert (made == halves(names, Bootstrap(9999, seed=1), "a")).all()
    assert (made != halves(names, Bootstrap(9, seed=2), "a")).any()


def test_where_a_side_was_not_timed_nothing_is_chosen():
    first, second = study(np.random.default_rng(5), [0], [0])
    for sides in (([], second), (first, [Sums(pd.DataFrame())])):
        made = compare_best(*sides, Bootstrap(99), "a")
        assert (made.speedup.value, made.chosen) == (None, None)
