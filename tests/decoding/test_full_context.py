"""A prompt and an answer may fill the context to the last token, whoever drafts, alone and in a batch."""

import pytest
import torch
from tiny_llama import perturbed_exit, tiny_llama

from selfdraft.decoding.loop import speculate, vanilla
from selfdraft.decoding.policy import Policy
from selfdraft.drafters.exit import ExitDrafter
from selfdraft.drafters.lookup import LookupDrafter
from selfdraft.drafters.model import ModelDrafter
from selfdraft.errors import StudyError

CONTEXT = 48
PROMPTS = [[7, 8, 9] * 6, [5], [3, 4] * 5]
GREEDY = Policy("greedy")


def drafter_of(kind, target):
    if kind == "lookup":
        return LookupDrafter(2)
    if kind in ("model", "model with a longer context"):
        return ModelDrafter(target, tiny_llama(layers=2, seed=1, positions=CONTEXT if kind == "model" else 256))
    return ExitDrafter(target, perturbed_exit(target, 1, kind), adapt=kind == "norm")


@pytest.mark.parametrize("gamma", [1, 4, 60])
@pytest.mark.parametrize("kind", ["lookup", "model", "model with a longer context", "norm", "head_block", "adapter"])
def test_the_last_token_of_the_context_is_reached(kind, gamma):
    target, generator = tiny_llama(positions=CONTEXT), torch.Generator().manual_seed(0)
    drafter = drafter_of(kind, target)
    for prompts in (PROMPTS[:1], PROMPTS):
        new = CONTEXT - max(map(len, prompts))
        expected = vanilla(target, prompts, GREEDY, new, generator).tokens
        assert [len(row) for row in expected] == [new] * len(prompts)
        assert speculate(target, drafter, prompts, GREEDY, gamma, new, generator).tokens == expected
        with pytest.raises(StudyError, match=f"{new + 1} more do not fit into the target's context of {CONTEXT}"):
            speculate(target, drafter, prompts, GREEDY, gamma, new + 1, generator)
