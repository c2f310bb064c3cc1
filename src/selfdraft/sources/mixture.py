"""Shares of several data sets in one: how much each gets, and in which order they are mixed."""

import math
from collections.abc import Iterator, Mapping
from typing import TypeVar

T = TypeVar("T")


def shares(total: int, weights: Mapping[str, float]) -> dict[str, int]:
    """`total` dealt by weight in whole numbers that add up to it: largest remainders are rounded up."""
    whole = math.fsum(weights.values())
    exact = {name: total * weight / whole for name, weight in weights.items()}
    dealt = {name: math.floor(share) for name, share in exact.items()}
    by_remainder = sorted(weights, key=lambda name: dealt[name] - exact[name])
    for name in by_remainder[: total - sum(dealt.values())]:
        dealt[name] += 1
    return dealt


def interleaved(streams: Mapping[str, Iterator[tuple[int, T]]], budgets: Mapping[str, int]) -> Iterator[tuple[str, T]]:
    """Items of (size, item) streams with their stream's name, each stream as far through its budget as the others.

    So every beginning of the result has about the shares of the whole. A stream ends when its budget
    is reached, which its last item may go over, or when it has no more.
    """
    taken = dict.fromkeys(streams, 0)
    running = [name for name in streams if budgets[name] > 0]
    while running:
        name = min(running, key=lambda name: taken[name] / budgets[name])
        size, item = next(streams[name], (None, None))
        if size is None or item is None:
            running.remove(name)
            continue
        taken[name] += size
        if taken[name] >= budgets[name]:
            running.remove(name)
        yield name, item
