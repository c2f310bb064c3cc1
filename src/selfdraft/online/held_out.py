"""What a draft is worth on prompts that it does not learn from: the same each time but for the draft."""

from collections.abc import Sequence
from typing import Any

import torch

from selfdraft.decoding.loop import speculate
from selfdraft.decoding.policy import Policy
from selfdraft.drafters.exit import ExitDrafter
from selfdraft.models.exit import Exit
from selfdraft.models.llama import Llama
from selfdraft.sequences import Prompt


def measured(
    target: Llama,
    draft: Exit,
    prompts: Sequence[Prompt],
    policy: Policy,
    gamma: int,
    max_new_tokens: int,
    seed: int,
    ends: frozenset[int],
    batch: int = 1,
) -> dict[str, Any]:
    """An answer to each prompt, `batch` of them at once, drafted by the policy and not learnt from.

    Returns the answers' `tokens`, the `seconds` of decoding them, and `by_prompt`: [accepted draft tokens, cycles],
    of cycles that could have accepted all gamma.
    """
    by_prompt: dict[str, list[int]] = {}
    tokens, seconds = 0, 0.0
    for first in range(0, len(prompts), batch):
        generator = torch.Generator(target.device).manual_seed(seed * 1_000_003 + first)
        drafter, together = ExitDrafter(target, draft), prompts[first : first + batch]
        texts = [list(prompt.tokens) for prompt in together]
        result = speculate(target, drafter, texts, policy, gamma, max_new_tokens, generator, ends)
        for row, prompt in enumerate(together):
            whole = [cycle.accepted for cycle in result.cycles if cycle.row == row and not cycle.cut]
            by_prompt[prompt.id] = [sum(whole), len(whole)]
        tokens += sum(map(len, result.tokens))
        seconds += result.timings.decode_s
    return {"tokens": tokens, "seconds": seconds, "by_prompt": by_prompt}
