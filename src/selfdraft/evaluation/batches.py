"""Speed against batch size: vanilla and speculative decoding of the same ragged batches, interleaved."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from tqdm import tqdm

from selfdraft.decoding.drafter import Drafter
from selfdraft.decoding.loop import Generation, speculate, vanilla
from selfdraft.decoding.policy import Policy
from selfdraft.evaluation.number_format import number_format
from selfdraft.evaluation.rows import SETTINGS
from selfdraft.models.llama import Llama
from selfdraft.sequences import Prompt

COLUMNS = (
    *(*SETTINGS, "method", "batch", "group", "new_tokens", "prefill_s", "decode_s", "cycles", "accepted"),
    *("dtype", "threads", "device"),
)
VANILLA = {"drafter": "vanilla"}


def groups_of(prompts: Sequence[Prompt], size: int, count: int, seed: int) -> list[list[Prompt]]:
    """`count` batches of `size` prompts, dealt from shuffled decks of all prompts: none twice in a batch.

    A deck that cannot fill a batch any more is put aside. Batches of one deck share no prompt; those of
    several decks may. `size` is at most the number of prompts.
    """
    order = random.Random(f"{seed} {size}")
    deck: list[Prompt] = []
    groups = []
    for _ in range(count):
        if len(deck) < size:
            deck = order.sample(list(prompts), len(prompts))
        groups.append(deck[:size])
        deck = deck[size:]
    return groups


def batch_rows(
    target: Llama,
    drafters: Sequence[tuple[Drafter, int, dict[str, Any]]],
    prompts: Sequence[Prompt],
    policy: Policy,
    sizes: Sequence[int],
    batches: int,
    max_new_tokens: int,
    seed: int,
) -> Iterator[dict[str, Any]]:
    """A row per method and batch, `batches` batches of each size; all methods decode the same batches.

    End-of-sequence is ignored: every row of a batch returns exactly `max_new_tokens`. One uncounted batch of
    each method and size comes first.
    """
    fixed = {"policy": policy.name, "threads": torch.get_num_threads(), "device": target.device.type}
    fixed["dtype"] = number_format(target)
    order = random.Random(seed)
    for size in sizes:
        groups = groups_of(prompts, size, batches, seed)
        rounds = [(None, groups[0]), *enumerate(groups)]
        for number, group in tqdm(rounds, unit="batch", desc=f"batches of {size}", disable=None):
            texts = [list(prompt.tokens) for prompt in group]
            run_seed = random.Random(f"{seed} {size} {number}").getrandbits(31)

            def row(method: str, result: Generation, settings: dict[str, Any]) -> dict[str, Any]:
                return {
                    **fixed,
                    **settings,
                    "method": method,
                    "batch": size,  # noqa: B023 (used within the round)
                    "group": number,  # noqa: B023
                    "new_tokens": sum(map(len, result.tokens)),
                    "prefill_s": result.timings.prefill_s,
                    "decode_s": result.timings.decode_s,
                    "cycles": len(result.cycles) if method == "speculative" else None,
                    "accepted": sum(c.accepted for c in result.cycles) if method == "speculative" else None,
                }

            for which in order.sample(range(-1, len(drafters)), len(drafters) + 1):
                generator = torch.Generator(target.device).manual_seed(run_seed)
                if which < 0:
                    made = row("vanilla", vanilla(target, texts, policy, max_new_tokens, generator), VANILLA)
                else:
                    drafter, gamma, settings = drafters[which]
                    result = speculate(target, drafter, texts, policy, gamma, max_new_tokens, generator)
                    made = row("speculative", result, settings)
                if number is not None:
                    yield made
