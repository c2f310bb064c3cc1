"""Greedy identity with vanilla decoding, and how near the target was to a tie where bfloat16 parts ways."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from tqdm import tqdm

from selfdraft.decoding.drafter import Drafter
from selfdraft.decoding.loop import speculate, vanilla
from selfdraft.decoding.policy import Policy
from selfdraft.evaluation.number_format import number_format
from selfdraft.evaluation.rows import SETTINGS
from selfdraft.models.llama import Llama
from selfdraft.sequences import Prompt

COLUMNS = (*SETTINGS, "dtype", "prompt", "new_tokens", "identical", "first_divergence", "top2_gap", "device")


def first_difference(one: Sequence[int], other: Sequence[int]) -> int | None:
    """The first place where two lists of tokens differ, the end of the shorter one included; None if they do not."""
    if list(one) == list(other):
        return None
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


@torch.inference_mode()
def top2_gap(target: Llama, text: Sequence[int]) -> float:
    """The best logit less the second best after `text`, in the target's dtype: 0 is a tie."""
    best = target(torch.tensor([list(text)], device=target.device))[0, -1].float().topk(2).values
    return float(best[0] - best[1])


def identity_rows(
    target: Llama,
    drafters: Sequence[tuple[Drafter, int, dict[str, Any]]],
    prompts: Sequence[Prompt],
    max_new_tokens: int,
    batch: int,
) -> Iterator[dict[str, Any]]:
    """A row per drafter and prompt. End-of-sequence is ignored, so that every output is compared at full length.

    Drafted and vanilla outputs come from the same batches of prompts. `first_divergence` counts new tokens
    from 0; `top2_gap` is the target's own there, in nats.
    """
    policy, generator = Policy("greedy"), torch.Generator(target.device)
    ordered = sorted(prompts, key=lambda prompt: (len(prompt.tokens), prompt.id))
    dtype = number_format(target)
    for begin in tqdm(range(0, len(ordered), batch), unit="batch", desc=f"identity {dtype}", disable=None):
        group = ordered[begin : begin + batch]
        texts = [list(prompt.tokens) for prompt in group]
        truth = vanilla(target, texts, policy, max_new_tokens, generator).tokens
        for drafter, gamma, settings in drafters:
            found = speculate(target, drafter, texts, policy, gamma, max_new_tokens, generator).tokens
            for prompt, expected, tokens in zip(group, truth, found, strict=True):
                at = first_difference(expected, tokens)
                yield {
                    **settings,
                    "policy": policy.name,
                    "dtype": dtype,
                    "device": target.device.type,
                    "prompt": prompt.id,
                    "new_tokens": len(expected),
                    "identical": int(at is None),
                    "first_divergence": at,
                    "top2_gap": None if at is None else top2_gap(target, [*prompt.tokens, *expected[:at]]),
                }
