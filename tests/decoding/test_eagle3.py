"""EAGLE-3 in the loop: greedy output stays vanilla's whatever is accepted, alone and in batches."""

import pytest
import torch
from tiny_llama import moved_eagle3, tiny_llama

from selfdraft.decoding.loop import speculate, vanilla
from selfdraft.decoding.policy import Policy
from selfdraft.decoding.stopping import Stopping
from selfdraft.drafters.eagle3 import Eagle3Drafter

GREEDY = Policy("greedy")
FEATURES = (1, 2, 3)


def prompts(count, vocab=61, seed=5):
    generator = torch.Generator().manual_seed(seed)
    lengths = [1, *torch.randint(1, 12, (count - 1,), generator=generator).tolist()]
    return [torch.randint(0, vocab, (n,), generator=generator).tolist() for n in lengths]


@pytest.mark.parametrize("gamma", [1, 3, 8])
@pytest.mark.parametrize("how", [{}, {"adapt": True}, {"stopping": Stopping(min_confidence=0.3)}], ids=str)
def test_greedy_output_is_vanillas_alone_and_in_a_batch(gamma, how):
    target = tiny_llama()
    drafter = Eagle3Drafter(target, moved_eagle3(target, FEATURES, torch.arange(0, 61, 2), True, False), **how)
    asked, generator = prompts(5), torch.Generator().manual_seed(0)
    alone = [vanilla(target, [prompt], GREEDY, 30, generator).tokens[0] for prompt in asked]
    assert speculate(target, drafter, asked, GREEDY, gamma, 30, generator).tokens == alone
    for prompt, expected in zip(asked, alone, strict=True):
        one = speculate(target, drafter, [prompt], GREEDY, gamma, 30, generator)
        assert one.tokens == [expected]


def test_rows_of_a_batch_draft_what_they_would_draft_alone():
    """Rows accept different numbers and are caught up together: what each accepts does not depend on the others."""
    target = tiny_llama(scale=0.2)
    drafter = Eagle3Drafter(target, moved_eagle3(target, FEATURES, torch.arange(61)))
    asked, generator = [[7, *prompt] for prompt in prompts(5)], torch.Generator().manual_seed(0)
    batch = speculate(target, drafter, asked, GREEDY, 3, 40, generator, whole=True)
    for row, prompt in enumerate(asked):
        alone = speculate(target, drafter, [prompt], GREEDY, 3, 40, generator, whole=True)
        assert [c.accepted for c in batch.cycles if c.row == row] == [c.accepted for c in alone.cycles]
    assert 0 < sum(cycle.accepted for cycle in batch.cycles) < 3 * len(batch.cycles)


def test_a_draft_step_reads_the_layer_and_the_head_and_the_first_one_the_fusion_too():
    target = tiny_llama()
    draft = moved_eagle3(target, FEATURES, torch.arange(20))
    layer, head, fusion = 32 * 64 + 2 * 16 * 64 + 32 * 32 + 3 * 32 * 64, 20 * 32, 32 * 96
    assert draft.step_bytes() == 4 * (layer + head)
    assert draft.fc.bytes == 4 * fusion
