"""How many draft tokens the target accepts: one row per row of the batch and cycle."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch
from tqdm import tqdm

from selfdraft.decoding.drafter import Drafter
from selfdraft.decoding.loop import speculate
from selfdraft.decoding.policy import Policy
from selfdraft.decoding.prefill import Prefill
from selfdraft.evaluation.answers import Answers, by_length
from selfdraft.evaluation.rows import SETTINGS
from selfdraft.evaluation.shards import WHOLE, Shard
from selfdraft.models.llama import Llama
from selfdraft.sequences import Prompt

COLUMNS = (
    *SETTINGS,
    *("prompt", "cycle", "drafted", "accepted", "overlap_sum", "new_tokens", "cut", "identical", "looked_up"),
    *("exit_layers", "dtype"),
)


class Prefills:
    """One `Prefill` for each batch of prompts, read the first time that it is asked for, with the states at `depths`.

    All are kept, as many bytes as the target's cache takes for all prompts; but the last one alone where steps are
    captured, since they all write to one cache.
    """

    def __init__(self, target: Llama, room: int, spare: int, depths: Collection[int]) -> None:
        """`room` for the longest answer behind each batch's longest prompt, `spare` for the longest draft."""
        self._target, self._room, self._spare, self._depths = target, room, spare, frozenset(depths)
        self._made: dict[tuple[tuple[int, ...], ...], Prefill] = {}

    @torch.inference_mode()
    def of(self, prompts: list[list[int]]) -> Prefill:
        """The batch's own."""
        key = tuple(tuple(prompt) for prompt in prompts)
        if key not in self._made:
            if self._target.replays is not None:
                self._made.clear()
            self._made[key] = Prefill(self._target, prompts, self._room, self._depths, self._spare)
        return self._made[key]


def acceptance_rows(
    target: Llama,
    drafter: Drafter,
    prompts: Sequence[Prompt],
    policy: Policy,
    gamma: int,
    max_new_tokens: int,
    batch: int,
    seed: int,
    eos_ids: frozenset[int],
    truth: Answers | None = None,
    shard: Shard = WHOLE,
    prefills: Prefills | None = None,
) -> Iterator[dict[str, Any]]:
    """Generate an answer to each prompt; compare it with `truth`, vanilla decoding's, token by token if that is given.

    Each batch of prompts has its own generator, seeded by `seed` and the batch's place among all batches,
    so that the rows of a part of the batches, `shard`, are those of the whole run. `prefills` are shared
    with other drafters: the rows are the same without.
    """
    groups = shard.of(list(enumerate(by_length(prompts, batch))))
    for number, group in tqdm(groups, unit="batch", desc=f"acceptance {policy.name}", disable=None):
        tokens = [list(prompt.tokens) for prompt in group]
        generator = torch.Generator(target.device).manual_seed(seed * 1_000_003 + number * batch)
        prefill = prefills.of(tokens) if prefills is not None else None
        result = speculate(
            target, drafter, tokens, policy, gamma, max_new_tokens, generator, eos_ids, trace=True, prefill=prefill
        )
        identical: list[int | None] = [None] * len(group)
        if truth is not None:
            answers = zip(result.tokens, group, strict=True)
            identical = [int(ours == list(truth[prompt.id])) for ours, prompt in answers]
        count = [0] * len(group)
        for cycle in sorted(result.cycles, key=lambda cycle: cycle.row):
            yield {
                "prompt": group[cycle.row].id,
                "cycle": count[cycle.row],
                "drafted": cycle.drafted,
                "accepted": cycle.accepted,
                "overlap_sum": cycle.overlap_sum,
                "new_tokens": len(cycle.tokens),
                "cut": int(cycle.cut),
                "identical": identical[cycle.row],
                "looked_up": int(cycle.looked_up),
                "exit_layers": " ".join(map(str, cycle.exit_layers)),
            }
            count[cycle.row] += 1
