"""The seconds of single steps (vanilla, a draft, a verification) by context: what a prediction of speed starts from.

Measured apart from the runs that the prediction is compared with: in a process of its own, with drafts of full length,
so that what is accepted plays no part. The loop itself does the steps and times them.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from tqdm import tqdm

from selfdraft.decoding.drafter import Draft, Drafter, widest
from selfdraft.decoding.loop import Timings, cycles, vanilla
from selfdraft.decoding.outcome import Outcome
from selfdraft.decoding.policy import Policy
from selfdraft.decoding.prefill import Prefill
from selfdraft.decoding.session import Session
from selfdraft.evaluation.asking import Asking
from selfdraft.evaluation.number_format import number_format
from selfdraft.evaluation.rows import SETTINGS
from selfdraft.models.llama import Llama

COLUMNS = (*SETTINGS, "step", "context", "tokens", "round", "seconds", "dtype", "threads", "device", "bytes")
VANILLA_TOKENS = 3
TIMED = 2  # cycles behind the first one, in which a drafter with a cache has nothing to catch up with

Point = tuple[Drafter, int, Mapping[str, Any]]
Timed = tuple[
    Drafter | Asking, int, list[dict[str, Any]]
]  # what takes the same steps is timed once: settings of a row each


class NoDraft:
    """Drafts nothing, and wants states at some depths: its cycles verify the pending token alone."""

    learns = False

    def __init__(self, depths: tuple[int, ...]) -> None:
        self.depths = depths

    def start(self, session: Session) -> None: ...

    def draft(self, session: Session, gamma: int, policy: Policy, generator: torch.Generator) -> Draft:
        return Draft(session.pending[:, :0])

    def observe(self, outcome: Outcome) -> None: ...


def room_of(gamma: int, slots: int = 0) -> int:
    """Tokens that must fit behind a context; `slots` that a draft takes, if they are more than gamma (a tree)."""
    return (TIMED + 1) * (gamma + 1) + max(gamma + 1, slots)


def text_of(tokens: Sequence[int], length: int) -> list[int]:
    """`length` tokens in which the last ones have stood before, so that a lookup finds a draft of full length."""
    begin = list(tokens[: max(1, length // 2)])
    return (begin * (length // len(begin) + 1))[:length]


def _cycle(
    target: Llama, drafter: Drafter, start: Prefill, policy: Policy, gamma: int, generator: torch.Generator
) -> tuple[float, float, int]:
    """Seconds of drafting and of verifying in a cycle, and the tokens drafted in it.

    The mean of the cycles behind the first that drafted `gamma` tokens; of the first one where a draft depends on
    what was found in the text (lookup) and only the first is sure to find something.
    """
    timings = Timings()
    loop = cycles(
        *(target, drafter, start.prompts, policy, gamma, (TIMED + 1) * (gamma + 1), generator),
        timings=timings,
        prefill=start,
        whole=True,
    )
    found, before = [], (0.0, 0.0)
    for cycle, _ in zip(loop, range(TIMED + 1), strict=False):
        after = timings.draft_s, timings.verify_s
        found.append((after[0] - before[0], after[1] - before[1], cycle.drafted))
        before = after
    chosen = [one for one in found[1:] if one[2] == found[0][2]] or found[:1]
    draft, verify = (sum(one[part] for one in chosen) / len(chosen) for part in (0, 1))
    return draft, verify, chosen[0][2]


def together(points: Sequence[Point]) -> list[tuple[Drafter, int, list[Mapping[str, Any]]]]:
    """Points by what their steps take: of exits layer, capacity, draft length and way of drafting; others alone."""
    groups: dict[Any, tuple[Drafter, int, list[Mapping[str, Any]]]] = {}
    for place, (drafter, gamma, settings) in enumerate(points):
        decides = ("drafter", "layer", "capacity", "gamma", "drafting")
        key = tuple(settings.get(name) for name in decides) if settings.get("capacity") else place
        groups.setdefault(key, (drafter, gamma, []))[2].append(settings)
    return list(groups.values())


def step_rows(
    target: Llama,
    points: Sequence[Point],
    tokens: Sequence[int],
    policy: Policy,
    contexts: Sequence[int],
    rounds: int,
    seed: int,
) -> Iterator[dict[str, Any]]:
    """A row a step, `rounds` times at each context, all steps in a new order each time; one uncounted round first.

    `points` are (drafter that never stops early, gamma, settings columns); `tokens` a text to fill the contexts with.
    What a drafter of several parts (`parts`) takes is that of each: its steps `lookup` and `draft`. Exits that differ
    in what they were trained with take the same steps, and are timed once for all of them. Of a drafter that asks heads
    (`asked`) each head has a step `ask` of its own, in whose row `layer` is the head's; `bytes` are the weights that it
    reads by the cost model, as those of a vanilla step.
    `tokens` of a row: drafted ones of a draft, those verified together of a verification. A verification of one token
    is measured once for all points whose drafters want states at the same depths.
    """
    shared = {"policy": policy.name, "dataset": next((s.get("dataset") for _, _, s in points), "")}
    shared |= {"threads": torch.get_num_threads(), "device": target.device.type}
    shared |= {"dtype": number_format(target)}
    room = max((room_of(gamma, widest(drafter, gamma)) for drafter, gamma, _ in points), default=room_of(1))
    parts: list[Timed] = [
        (part, gamma, [{**settings, "step": step} for settings in alike])
        for drafter, gamma, alike in together(points)
        for step, part in getattr(drafter, "parts", {"draft": drafter}).items()
    ]
    parts += [
        (Asking(head, measure), 1, [{**settings, "layer": head.exit.layer, "step": "ask", "tokens": 1}])
        for drafter, _, settings in points
        for head, measure in getattr(drafter, "asked", ())
    ]
    wanted = {drafter.depths for drafter, _, _ in points}
    work: list[Timed | None] = [*parts, *((NoDraft(depths), 1, []) for depths in sorted(wanted))]
    work = [part for point in work for part in (None, point)]  # a vanilla step beside each
    order = random.Random(seed)
    for number in tqdm(range(-1, rounds), unit="round", desc=f"steps {policy.name}", disable=None):
        for context in order.sample(contexts, len(contexts)):
            start = Prefill(target, [text_of(tokens, context)], room, {depth for depths in wanted for depth in depths})
            here = {**shared, "context": context, "round": number}
            for part in order.sample(work, len(work)):
                generator = torch.Generator(target.device).manual_seed(seed)
                made: list[dict[str, Any]] = []
                own: dict[str, Any]
                what, longest, alike = part or (None, 1, [])
                if what is None:
                    result = vanilla(target, start.prompts, policy, VANILLA_TOKENS, generator, prefill=start)
                    own = {"drafter": "vanilla", "step": "vanilla", "tokens": 1, "bytes": target.step_bytes()}
                    made = [own | {"seconds": result.timings.decode_s / VANILLA_TOKENS}]
                elif isinstance(what, Asking):
                    own = {"seconds": what.seconds(target, start), "bytes": what.head.bytes}
                    made = [settings | own for settings in alike]
                elif isinstance(what, NoDraft):
                    _, verify, _ = _cycle(target, what, start, policy, 1, generator)
                    same = [settings for drafter, _, settings in points if drafter.depths == what.depths]
                    made = [{**settings, "step": "verify", "tokens": 1, "seconds": verify} for settings in same]
                else:
                    draft, verify, drafted = _cycle(target, what, start, policy, longest, generator)
                    if drafted:
                        made = [{**settings, "tokens": drafted, "seconds": draft} for settings in alike]
                        own = {"step": "verify", "tokens": drafted + 1, "seconds": verify}
                        made += [settings | own for settings in alike]
                if number >= 0:
                    yield from ({**here, **row} for row in made)
