"""The steps of drafts that need not be trained: what an exit's step takes depends on its depth and head alone.

So another machine needs the target and a table of acceptance, and no checkpoint.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from selfdraft.decoding.policy import Policy
from selfdraft.drafters.exit import ExitDrafter
from selfdraft.drafters.lookup import LookupDrafter
from selfdraft.errors import StudyError
from selfdraft.evaluation.steps import Point, room_of, step_rows
from selfdraft.models.exit import untrained_exit
from selfdraft.models.llama import Llama

Timed = tuple[str, str, str]  # drafter, layer, capacity: what a row of the acceptance table names them by


def step_table(
    target: Llama,
    drafts: Iterable[Timed],
    policies: Sequence[Policy],
    gammas: Sequence[int],
    contexts: Sequence[int],
    rounds: int,
) -> Iterator[dict[str, Any]]:
    """Rows as `selfdraft steps` makes them, under each policy: drafts of each length, and their verifications.

    Exits and lookup are timed; the target is packed here, after the exits were made. Raises StudyError if a context
    and the longest draft do not fit into the target's.
    """
    points: list[Point] = []
    for name, layer, capacity in drafts:
        settings: Mapping[str, Any] = {"drafter": name, "layer": layer, "capacity": capacity, "drafting": "fixed"}
        drafter: LookupDrafter | ExitDrafter = LookupDrafter()
        if layer:
            drafter = ExitDrafter(target, untrained_exit(target, int(layer), capacity, target.dtype).pack())
        points += [(drafter, gamma, {**settings, "gamma": gamma}) for gamma in gammas]  # one copy of the weights
    room = max(contexts) + room_of(max(gammas))
    if room > target.config.max_positions:
        raise StudyError(
            f"--contexts: {max(contexts)} and {room_of(max(gammas))} tokens behind it do not fit into the target's "
            f"context of {target.config.max_positions}"
        )
    target.pack()
    text = list(range(target.config.vocab_size))  # which tokens they are changes no time
    for policy in policies:
        yield from step_rows(target, points, text, policy, contexts, rounds, 0)
