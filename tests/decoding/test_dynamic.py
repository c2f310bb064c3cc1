"""Dynamic exits: head and length follow from what all heads would have said; the output stays the target's."""

import pytest
import torch
from tiny_llama import perturbed_exit, tiny_llama

from selfdraft.decoding.drafting import Drafting
from selfdraft.decoding.loop import speculate, vanilla
from selfdraft.decoding.policy import Policy
from selfdraft.drafters import drafter_of
from selfdraft.drafters.dynamic import DynamicDrafter
from selfdraft.errors import StudyError
from selfdraft.models.exit import untrained_exit

GREEDY, WARM = Policy("greedy"), Policy("warm", 0.9)
PROMPTS = [[3, 1, 4], [1, 5], [9, 2, 6, 5, 3, 5]]


def generator():
    return torch.Generator().manual_seed(0)


def dynamic(target, heads, costs=None, **settings):
    drafter = DynamicDrafter(target, heads, **settings)
    drafter._costs = costs or drafter._costs
    return drafter


@pytest.mark.parametrize("capacity", ["translator", "head_block", "adapter"])
def test_greedy_output_is_vanillas_while_heads_take_turns(capacity):
    target = tiny_llama()
    heads = [perturbed_exit(target, layer, capacity, 0.05) for layer in (0, 1, 2)]
    drafter = dynamic(target, heads, [0.02, 0.03, 0.04], look=2)
    truth = vanilla(target, PROMPTS, GREEDY, 25, generator()).tokens
    result = speculate(target, drafter, PROMPTS, GREEDY, 4, 25, generator())
    assert result.tokens == truth
    assert any(cycle.accepted for cycle in result.cycles)
    assert len({cycle.drafted for cycle in result.cycles if not cycle.cut}) > 1


@pytest.mark.parametrize("policy", [GREEDY, WARM], ids=["greedy", "warm"])
@pytest.mark.parametrize("capacity", ["translator", "head_block", "adapter"])
def test_shadows_say_how_often_a_head_would_have_been_right(capacity, policy):
    """What looks find of a head that never drafts is what it would have said in one pass over the text."""
    target = tiny_llama()
    heads = [perturbed_exit(target, layer, capacity, 0.05) for layer in (0, 2)]
    drafter = dynamic(target, heads, [9.0, 9.0], look=4)  # so dear that nothing is drafted
    prompt = PROMPTS[2]
    seen = []

    class Noting(DynamicDrafter):
        def _look(self, session, policy):
            before = [(pace.accepted, pace.rejected) for pace in self.paces]
            super()._look(session, policy)
            found = [pace.accepted - 0.9 * old for pace, (old, _) in zip(self.paces, before, strict=True)]
            seen.append((list(session.text[0]), found))

    drafter.__class__ = Noting
    result = speculate(target, drafter, [prompt], policy, 4, 21, generator())
    assert {cycle.drafted for cycle in result.cycles} == {0}
    assert len(seen) == 4
    for text, found in seen:
        whole = torch.tensor([text])
        step = target.step([0], whole.shape[1])
        with torch.no_grad():
            p = policy.distribution(target(whole))[0, -5:-1]
            for head, share in zip(heads, found, strict=True):
                states = target.run(target.embed(whole), 0, head.depth, step)
                q = policy.distribution(head.logits(states, step))[0, -5:-1]
                tokens = whole[0, -4:].unsqueeze(1)
                expected = (q.gather(1, tokens) / p.gather(1, tokens)).clamp(max=1).sum()
                assert share == pytest.approx(float(expected), abs=1e-3)


def test_a_head_that_is_the_target_and_cheap_drafts_whole_drafts_and_a_bad_one_none():
    target = tiny_llama(layers=2)
    good = untrained_exit(target, 1, "head", torch.float32)
    bad = perturbed_exit(target, 0, "head", 3.0)
    drafter = dynamic(target, [bad, good], [0.1, 0.2])
    result = speculate(target, drafter, PROMPTS[:1], GREEDY, 3, 40, generator())
    drafted = [cycle.drafted for cycle in result.cycles if not cycle.cut]
    assert drafted[:4] == [0, 0, 0, 0]  # before the first look nobody knows anything
    assert set(drafted[4:]) == {3}
    assert drafter.left[0] == 0 < drafter.left[1]


def test_where_no_head_pays_nothing_is_drafted_and_looks_become_rare():
    target = tiny_llama()
    drafter = dynamic(target, [perturbed_exit(target, layer, "head", 3.0) for layer in (0, 1)], look=16)
    result = speculate(target, drafter, PROMPTS[:1], GREEDY, 4, 100, generator())
    assert sum(cycle.drafted for cycle in result.cycles) <= 8
    # waits: one a cycle, and one a look: after 4 cycles, then 8, 16, 16, …
    assert result.timings.waits - len(result.cycles) <= 8


def test_by_the_clock_a_head_whose_steps_take_long_is_given_up():
    target = tiny_llama(layers=2)
    drafter = dynamic(target, [untrained_exit(target, 1, "head", torch.float32)], [0.1], clock=True)

    class Slow(DynamicDrafter):
        def observe(self, outcome):
            outcome.verify_s, outcome.draft_s = 1.0, 1.5 * max(outcome.drafted)
            super().observe(outcome)

    drafter.__class__ = Slow
    result = speculate(target, drafter, PROMPTS[:1], GREEDY, 3, 150, generator())
    drafted = [cycle.drafted for cycle in result.cycles if not cycle.cut]
    assert 3 in drafted
    assert set(drafted[-10:]) == {0}
    assert drafter.paces[0].draft_cost > 1.0


@pytest.mark.parametrize(
    ("settings", "way", "message"),
    [
        ({"drafter": {"kind": "lookup"}}, {}, "drafters.d.drafter: found"),
        ({"look": 0}, {}, "drafters.d.look: 0 is not an integer ≥ 1"),
        ({"costs": "mine"}, {}, "drafters.d.costs: 'mine' is unknown; one of bytes, clock is right"),
        ({}, {"adapt": True}, "drafters.d: it chooses each draft's length itself: drafting way is not for it"),
        ({}, {"tree": {"nodes": 4, "children": 2}}, "drafters.d: dynamic drafts no trees"),
    ],
)
def test_what_it_cannot_follow_is_one_clear_line(settings, way, message):
    made = {"kind": "dynamic", "drafter": {"kind": "exits", "folder": "none"}, **settings}
    with pytest.raises(StudyError, match="^" + message.replace("(", r"\(")):
        drafter_of("d", made, tiny_llama(), Drafting.from_settings("way", way))
