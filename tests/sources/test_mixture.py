import random

import pytest

from selfdraft.sources.mixture import interleaved, shares


def test_shares_are_whole_numbers_that_add_up():
    assert shares(10, {"a": 3, "b": 1}) == {"a": 8, "b": 2}  # 7.5 and 2.5; the first of equal remainders
    assert shares(100, {"a": 1, "b": 1, "c": 1}) == {"a": 34, "b": 33, "c": 33}
    assert shares(1, {"a": 0.9, "b": 0.1}) == {"a": 1, "b": 0}
    assert shares(7, {"only": 0.01}) == {"only": 7}
    rng = random.Random(0)
    for _ in range(200):
        weights = {str(n): rng.random() * 10 ** rng.randint(-3, 3) + 1e-9 for n in range(rng.randint(1, 6))}
        total = rng.randint(0, 10_000)
        dealt = shares(total, weights)
        assert sum(dealt.values()) == total
        whole = sum(weights.values())
        assert all(abs(dealt[name] - total * weight / whole) < 1 for name, weight in weights.items())


def stream(name, sizes):
    return iter([(size, f"{name}{number}") for number, size in enumerate(sizes)])


def test_every_beginning_has_the_shares_of_the_whole():
    streams = {"a": stream("a", [1] * 100), "b": stream("b", [1] * 100)}
    order = [name for name, _ in interleaved(streams, {"a": 30, "b": 10})]
    assert len(order) == 40
    for count in range(1, 41):
        assert abs(order[:count].count("a") - count * 0.75) <= 1


def test_a_stream_ends_with_the_item_that_reaches_its_budget():
    streams = {"a": stream("a", [40, 40, 40, 40]), "b": stream("b", [5] * 9), "c": stream("c", [1])}
    found = [item for _, item in interleaved(streams, {"a": 100, "b": 20, "c": 0})]
    assert sorted(found) == ["a0", "a1", "a2", "b0", "b1", "b2", "b3"]


def test_a_stream_that_runs_out_leaves_the_others_their_own_budgets():
    streams = {"a": stream("a", [10]), "b": stream("b", [10] * 99)}
    found = [name for name, _ in interleaved(streams, {"a": 500, "b": 50})]
    assert (found.count("a"), found.count("b")) == (1, 5)


@pytest.mark.parametrize("size", [0, 1])
def test_no_more_is_taken_from_a_stream_than_is_used(size):
    source = stream("a", [1, 1, 1])
    list(interleaved({"a": source}, {"a": size}))
    assert next(source) == (1, f"a{size}")
