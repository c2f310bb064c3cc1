"""EAGLE-3 in the loop: greedy output stays vanilla's whatever is accepted, alone and in batches."""

import pytest
import torch
from tiny_llama import moved_eagle3, tiny_llama

from selfdraft.decoding.drafting import Drafting, Tree
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


def test_a_bias_by_the_token_before_keeps_the_output_alone_in_a_batch_and_in_trees():
    target = tiny_llama()
    draft = moved_eagle3(target, FEATURES, torch.arange(0, 61, 2), bias_rank=4)
    asked, generator = prompts(5), torch.Generator().manual_seed(0)
    alone = [vanilla(target, [prompt], GREEDY, 30, generator).tokens[0] for prompt in asked]
    for tree in (None, Tree(7, 3)):
        assert (
            speculate(target, Eagle3Drafter(target, draft, tree=tree), asked, GREEDY, 3, 30, generator).tokens == alone
        )


class Told:
    """In place of a confidence head: the chances of a script, one after the other."""

    def __init__(self, *script):
        self.script, self.asked = script, 0

    def chance(self, state):
        self.asked += 1
        return torch.full((len(state),), self.script[(self.asked - 1) % len(self.script)])


@pytest.mark.parametrize(
    ("script", "least", "longest"),
    [
        ((0.99,), 0.1, 6),
        ((0.5,), 0.2, 3),  # 0.5, 0.25, 0.125: one more would not pay after the third
        ((0.9, 0.01, 0.9), 0.1, 2),
        ((0.05,), 0.1, 1),
    ],
)
def test_an_adaptive_draft_ends_where_one_more_token_is_not_worth_its_cost(script, least, longest):
    """All tokens so far must be more likely accepted than the pace asks; its length is no bound."""
    target = tiny_llama()
    drafter = Eagle3Drafter(target, moved_eagle3(target, FEATURES, torch.arange(61), confidence=True), adapt=True)
    told = drafter._asked = Told(*script)
    drafter.pace.length = lambda gamma, decided: 1
    drafter.pace.least = lambda gamma: least

    def draft(*words, propose=drafter.draft):
        told.asked = 0
        return propose(*words)

    drafter.draft = draft
    asked, generator = [[7, 3], [1, 2, 5]], torch.Generator().manual_seed(0)
    result = speculate(target, drafter, asked, GREEDY, 6, 30, generator)
    assert result.tokens == vanilla(target, asked, GREEDY, 30, generator).tokens
    assert {cycle.drafted for cycle in result.cycles if not cycle.cut} == {longest}


def test_an_own_confidence_says_how_sure_a_token_is_where_there_is_one():
    """Rows of a batch end apart, as alone; min_confidence asks the head in place of the best probability."""
    target = tiny_llama()
    draft = moved_eagle3(target, FEATURES, torch.arange(61), confidence=True)
    asked, generator = [[7, *prompt] for prompt in prompts(4)], torch.Generator().manual_seed(0)
    for how in ({"adapt": True}, {"stopping": Stopping(min_confidence=0.4)}):
        drafter = Eagle3Drafter(target, draft, **how)
        if drafter.pace is not None:
            drafter.pace.draft_cost = 0.05  # of a target with many layers
        result = speculate(target, drafter, asked, GREEDY, 5, 40, generator, whole=True)
        assert result.tokens == vanilla(target, asked, GREEDY, 40, generator).tokens
        assert len({cycle.drafted for cycle in result.cycles if not cycle.cut}) > 2
        if drafter.pace is None:
            alone = speculate(target, drafter, asked[:1], GREEDY, 5, 40, generator, whole=True).cycles
            together = [cycle for cycle in result.cycles if cycle.row == 0]
            assert [cycle.drafted for cycle in alone] == [cycle.drafted for cycle in together]
    sure = Eagle3Drafter(target, draft, Stopping(min_confidence=0.4))
    sure._asked = Told(0.41)
    drafted = {
        cycle.drafted for cycle in speculate(target, sure, asked, GREEDY, 5, 40, generator).cycles if not cycle.cut
    }
    assert drafted == {5}


def test_steps_of_full_length_ask_what_the_way_of_drafting_asks():
    """So that what a confidence head takes is in the times of an adaptive draft, and in no other's."""
    target = tiny_llama()
    draft = moved_eagle3(target, FEATURES, torch.arange(61), confidence=True)
    asked, generator = [[7, 3], [1, 2, 5]], torch.Generator().manual_seed(0)
    for way, often in (({"adapt": True}, 5), ({"min_confidence": 0.9}, 5), ({"max_entropy": 0.1}, 0), ({}, 0)):
        made = Drafting.from_settings("way", way).of_full_length()
        drafter = Eagle3Drafter(target, draft, made.stopping(), made.adapt, never_ends=made.never_ends)
        told = Told(1e-6)
        drafter._asked = None if drafter._asked is None else told
        cycles = speculate(target, drafter, asked, GREEDY, 5, 40, generator).cycles
        whole = {cycle.drafted for cycle in cycles if not cycle.cut}
        assert whole == {5}
        assert told.asked >= often * len([cycle for cycle in cycles if cycle.row == 0 and not cycle.cut])
        assert (told.asked > 0) == (often > 0)


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
