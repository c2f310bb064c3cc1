"""No harm: how many conversations verified drafts decode slower than the target alone, by what a cycle costs.

Verified drafts never change the output, so that time is all that they can cost. The loss of a conversation is 0 or 1:
1 if its answers, replayed cycle by cycle under a greedy policy, cost more than as many vanilla steps. This is not
monotone in a threshold: a strict one asks in vain before every token, a loose one drafts what is refused. So no order
of thresholds from safe to harmful is known before anybody looks. It is chosen on conversations of its own, by how many
of them are harmed and what is gained (`ordered`), and tested on others: the last one rejected is the fastest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from selfdraft.calibration.exits import LEVELS, Said, level_text
from selfdraft.calibration.measures import MEASURES, grid, sure
from selfdraft.calibration.pvalues import Floats
from selfdraft.calibration.rules import RULES, check_chances, learn_then_test
from selfdraft.errors import StudyError

RISK = "share of conversations that verified drafts decode slower than the target alone, by the costs of their cycles"
ORDER_SHARE = 1 / 3  # of the conversations to calibrate on, those that the order is chosen on
GAMMA = 4

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Costs:
    """What the parts of a cycle cost, in vanilla steps.

    reach: of each head, shallow ones first, to take one token to it and ask it alone; ask: to ask it alone, of a token
    that is there; verify: by the number of tokens drafted, 0 … gamma.
    """

    reach: tuple[float, ...]
    ask: tuple[float, ...]
    verify: tuple[float, ...]

    @property
    def gamma(self) -> int:
        """Tokens that a cycle drafts at most."""
        return len(self.verify) - 1


class Way(NamedTuple):
    """Heads that are asked, from number `first` to the one before `after`, and the threshold that they share."""

    first: int
    after: int
    threshold: float


def ways(heads: int, measure: str) -> list[Way]:
    """All neighbouring heads, the deepest alone first, at each threshold of `grid`: no data were looked at for them."""
    parts = [(first, after) for first in reversed(range(heads)) for after in range(first + 1, heads + 1)]
    return [Way(first, after, float(threshold)) for first, after in parts for threshold in grid(measure)]


def seconds(heads: Sequence[Said], measure: str, costs: Costs) -> tuple[Floats, Floats]:
    """What each conversation costs in vanilla steps, `[conversations, ways]`, and how many tokens it has.

    `heads` speak of the same tokens, shallow ones first. The tokens of a conversation are replayed in their order as if
    they were the target's: a drafted token is accepted where the head's best token is the target's; what heads say
    after a refused one is taken to be what they say there.
    """
    conversations = heads[0].conversations
    told = [np.flatnonzero(heads[0].conversation == number) for number in range(conversations)]
    found = [_replayed(heads, places, measure, costs) for places in told]
    return np.stack(found), np.array([len(places) for places in told], dtype=float)


def _replayed(heads: Sequence[Said], places: Ints, measure: str, costs: Costs) -> Floats:
    """The cost of one conversation's tokens, `[ways]`."""
    tokens, gamma = len(places), costs.gamma
    values = [said.values[measure][places] for said in heads]
    agrees = [said.agrees[places] for said in heads]
    is_sure = [sure(value[None, :], measure, grid(measure)[:, None]) for value in values]  # [thresholds, tokens]
    parts = dict.fromkeys((way.first, way.after) for way in ways(len(heads), measure))
    made = []
    for first, after in parts:
        leaves = np.zeros(is_sure[0].shape, dtype=bool)
        right, cost, vain = leaves.copy(), np.zeros(leaves.shape), 0.0
        for number in range(first, after):
            now = is_sure[number] & ~leaves
            right |= now & agrees[number]
            cost[now] = vain + costs.reach[number]
            vain += costs.ask[number]
            leaves |= now
        made.append(_walked(leaves, right, cost, vain, costs.verify, tokens, gamma))
    return np.concatenate(made)


def _walked(
    leaves: npt.NDArray[np.bool_],
    right: npt.NDArray[np.bool_],
    cost: Floats,
    vain: float,
    verify: Sequence[float],
    tokens: int,
    gamma: int,
) -> Floats:
    """The cost of all cycles, `[thresholds]`, of tokens that leave, are right and cost so much, `[thresholds, tokens]`.

    A cycle never drafts more than may still come out behind its own token.
    """
    room = np.minimum(gamma, tokens - 1 - np.arange(tokens))  # by where a cycle begins
    drafted, accepted = np.zeros((2, *leaves.shape), dtype=np.int64)
    alive, good = np.ones((2, *leaves.shape), dtype=bool)
    total = np.zeros(leaves.shape)
    for ahead in range(min(gamma, tokens)):
        there = np.zeros(leaves.shape, dtype=bool)
        there[:, : tokens - ahead] = leaves[:, ahead:]
        alive &= there & (ahead < room)
        now = np.zeros(leaves.shape)
        now[:, : tokens - ahead] = cost[:, ahead:]
        total += np.where(alive, now, 0.0)
        there[:, : tokens - ahead] = right[:, ahead:]
        good &= alive & there
        drafted, accepted = drafted + alive, accepted + good
    total += np.where(drafted < room, vain, 0.0) + np.asarray(verify)[drafted]
    rows, place, paid = np.arange(len(leaves)), np.zeros(len(leaves), dtype=np.int64), np.zeros(len(leaves))
    while len(rows):
        paid[rows] += total[rows, place[rows]]
        place[rows] += accepted[rows, place[rows]] + 1
        rows = rows[place[rows] < tokens]
    return paid


@dataclass(frozen=True)
class Replayed:
    """What conversations cost in vanilla steps, `[conversations, ways]`, and their tokens `[conversations]`."""

    cost: Floats
    tokens: Floats

    def harmed(self) -> Floats:
        """1 where a conversation costs more than as many vanilla steps, else 0."""
        return np.asarray(self.cost > self.tokens[:, None] * (1 + 1e-9), dtype=np.float64)

    def speedups(self) -> Floats:
        """Of all conversations together, by way."""
        return np.asarray(self.tokens.sum() / np.maximum(self.cost.sum(axis=0), 1e-300))


def ordered(harmed: Floats, speedups: Floats) -> Ints:
    """The numbers of ways from safe to harmful, each faster than all before it; of these conversations alone.

    `harmed [conversations, ways]`. What is no faster than something as safe is left out: it would only be tested.
    """
    risks = harmed.mean(axis=0)
    chain: list[int] = []
    for number in np.lexsort((-speedups, risks)).tolist():
        if not chain or speedups[number] > speedups[chain[-1]]:
            chain.append(number)
    return np.array(chain, dtype=np.int64)


def no_harm(
    order: Sequence[Said],
    learn: Sequence[Said],
    test: Sequence[Said],
    costs: Costs,
    layers: Sequence[int],
    epsilon: float,
) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
    """Heads and their shared threshold by measure, rule and level: at most 1 - level of the conversations are harmed.

    Of `order`, `learn` and `test` the heads speak of the same conversations each; which these are must not depend on
    what was said. `learn_then_test` orders by the first, tests on the second, exactly; `empirical` takes the fastest
    way whose risk on both is within the limit. `threshold` is None for a level that is unreachable, with the
    conversations that it would take to order and test (None: no number). `observed_risk` and `observed_speedup` are
    of `test`.
    """
    check_chances(1 - LEVELS[0], epsilon)
    if not order[0].conversations or not learn[0].conversations:
        raise StudyError("calibration: no harm needs a conversation to choose the order on, and others to test it on")
    found: dict[str, dict[str, dict[str, dict[str, Any]]]] = {}
    for measure in MEASURES:
        made = ways(len(layers), measure)
        first, second, third = (Replayed(*seconds(heads, measure, costs)) for heads in (order, learn, test))
        chain = ordered(first.harmed(), first.speedups())
        both = Replayed(np.concatenate((first.cost, second.cost)), np.concatenate((first.tokens, second.tokens)))
        found[measure] = {rule: {} for rule in RULES}
        for rule, level in ((rule, level) for rule in RULES for level in LEVELS):
            delta = round(1 - level, 9)
            needed = None
            if rule == "learn_then_test":
                choice = learn_then_test(second.harmed()[:, chain], delta, epsilon, binary=True)
                place, risk = None if choice.place is None else int(chain[choice.place]), choice.risk
                share = len(second.tokens) / len(both.tokens)
                needed = None if choice.needed is None else int(np.ceil(choice.needed / share))
                looked_at = second
            else:
                place, risk = _fastest_within(both, delta)
                looked_at = both
            told: dict[str, Any] = {"threshold": None, "risk": risk}
            if place is None:
                told["conversations_needed"] = needed
            else:
                way = made[place]
                told["threshold"], told["heads"] = way.threshold, list(layers[way.first : way.after])
                told["speedup"] = float(looked_at.speedups()[place])
                if len(third.tokens):
                    told["observed_risk"] = float(third.harmed()[:, place].mean())
                    told["observed_speedup"] = float(third.speedups()[place])
            found[measure][rule][level_text(level)] = told
    return found


def _fastest_within(made: Replayed, delta: float) -> tuple[int | None, float]:
    """The fastest way of which at most the share `delta` of the conversations is harmed, and that share."""
    risks = made.harmed().mean(axis=0)
    within = np.flatnonzero(risks <= delta)
    if not within.size:
        return None, float(risks.min())
    place = int(within[np.argmax(made.speedups()[within])])
    return place, float(risks[place])
