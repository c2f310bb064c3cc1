"""Adaptive early exit: tokens that leave at different depths, and the target's own output all the same."""

from collections import Counter

import pytest
import torch
from tiny_llama import perturbed_exit, tiny_llama

from selfdraft.capacities import CAPACITIES
from selfdraft.decoding.loop import speculate, vanilla
from selfdraft.decoding.policy import Policy
from selfdraft.drafters.adaptive_early_exit import AdaptiveDrafter
from selfdraft.models.exit import untrained_exit

GREEDY, WARM = Policy("greedy"), Policy("warm", 0.9)
PROMPTS = [[3, 1, 4], [1, 5], [9, 2, 6, 5, 3, 5]]


def generator():
    return torch.Generator().manual_seed(0)


def heads(target, capacity, layers=(0, 1, 2), limits=(1.6, 2.0, 2.6), amount=0.05):
    made = [perturbed_exit(target, layer, capacity, amount) for layer in layers]
    return list(zip(made, limits, strict=True))


@pytest.mark.parametrize("capacity", CAPACITIES)
def test_greedy_output_is_vanillas_and_heads_of_all_depths_take_part(capacity):
    target = tiny_llama()
    drafter = AdaptiveDrafter(target, heads(target, capacity))
    truth = vanilla(target, PROMPTS, GREEDY, 25, generator()).tokens
    result = speculate(target, drafter, PROMPTS, GREEDY, 4, 25, generator())
    assert result.tokens == truth
    assert all(drafter.left.values())
    left = Counter(layer for cycle in result.cycles for layer in cycle.exit_layers)
    assert left == drafter.left
    assert all(len(cycle.exit_layers) == cycle.drafted for cycle in result.cycles)
    assert len({cycle.drafted for cycle in result.cycles if not cycle.cut}) > 2  # drafts end where none is sure
    assert any(cycle.accepted for cycle in result.cycles)


class Scripted(AdaptiveDrafter):
    """Leaves at the heads of a script, whatever they say: a token at ¼ then one at ¾, and so on."""

    script = (0, 2, 1, 0, 0, 2)
    asked = 0

    def _answer(self, session, token, position, going):
        wanted = self.script[self.asked % len(self.script)]
        self.asked += 1
        for number, (head, _) in enumerate(self.heads[: wanted + 1]):
            hidden = session.deepen(head.depth) if number else session.extend(token, head.depth)
            if number == wanted or self.asked % 2:  # a head on the way is asked, or passed by
                logits = head.logits(session, hidden, position)
        return logits, torch.ones_like(going), dict.fromkeys(range(session.batch), self.heads[wanted][0].exit.layer)


@pytest.mark.parametrize("policy", [GREEDY, WARM], ids=["greedy", "warm"])
@pytest.mark.parametrize("capacity", ["norm", "head_block", "adapter", "lora"])
def test_heads_say_what_they_say_of_the_whole_text_wherever_the_tokens_before_left(capacity, policy):
    """A head's q in the loop is its q in one pass over the text: keys and values of skipped layers are right."""
    target = tiny_llama()
    drafter = Scripted(target, heads(target, capacity))
    seen = []
    for head, _ in drafter.heads:

        def asked(session, hidden, position, head=head, ask=head.logits):
            logits = ask(session, hidden, position)
            parts = torch.cat(session.held(), dim=1)
            seen.append((head, [list(text) for text in session.text], parts.clone(), logits.clone()))
            return logits

        head.logits = asked
    result = speculate(target, drafter, PROMPTS, policy, 5, 25, generator())
    assert max(cycle.accepted for cycle in result.cycles) >= 1
    assert {head.exit.layer for head, *_ in seen} == {0, 1, 2}
    for head, texts, held, logits in seen[::7]:
        for row, text in enumerate(texts):
            whole = torch.tensor([text[:-1] + held[row].tolist()])
            step = target.step([0], whole.shape[1])
            with torch.no_grad():
                states = target.run(target.embed(whole), 0, head.depth, step)
                expected = head.exit.logits(states, step)[0, -1]
            torch.testing.assert_close(logits[row], expected, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("capacity", ["head", "head_block"])
def test_heads_that_are_the_target_itself_are_accepted_whole_whoever_leaves_where(capacity):
    target = tiny_llama(layers=2)
    last = untrained_exit(target, 1, capacity, torch.float32)
    shallow = perturbed_exit(target, 0, capacity, 0.0)
    drafter = AdaptiveDrafter(target, [(shallow, -1.0), (last, 100.0)])  # the first is never sure, the second always
    result = speculate(target, drafter, PROMPTS, GREEDY, 3, 25, generator())
    assert all(cycle.accepted == cycle.drafted == 3 for cycle in result.cycles if not cycle.cut)
    assert drafter.left[0] == 0


def test_where_no_head_is_ever_sure_nothing_is_drafted():
    target = tiny_llama()
    drafter = AdaptiveDrafter(target, heads(target, "head", limits=(-1.0, -1.0, -1.0)))
    result = speculate(target, drafter, PROMPTS, GREEDY, 3, 20, generator())
    assert result.tokens == vanilla(target, PROMPTS, GREEDY, 20, generator()).tokens
    assert {cycle.drafted for cycle in result.cycles} == {0}


@pytest.mark.parametrize(("measure", "limits"), [("top_probability", (0.4, 0.3, 0.2)), ("margin", (0.3, 0.2, 0.1))])
def test_other_measures_leave_where_they_are_high(measure, limits):
    target = tiny_llama()
    drafter = AdaptiveDrafter(target, heads(target, "head", limits=limits), measure)
    result = speculate(target, drafter, PROMPTS, GREEDY, 4, 25, generator())
    assert result.tokens == vanilla(target, PROMPTS, GREEDY, 25, generator()).tokens
    assert all(drafter.left.values())
    assert len({cycle.drafted for cycle in result.cycles if not cycle.cut}) > 2
