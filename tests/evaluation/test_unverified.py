"""Decoding that nobody verifies: what skipped layers lack is made right when a later token goes deeper."""

import math

import pytest
import torch
from tiny_llama import perturbed_exit, tiny_llama

from selfdraft.decoding.loop import vanilla
from selfdraft.decoding.policy import Policy
from selfdraft.evaluation.unverified import Leaving, judged, unverified

GREEDY, WARM = Policy("greedy"), Policy("warm", 0.9)
PROMPT, FULL = [9, 2, 6, 5], 3
SCRIPT = (0, 2, FULL, 0, 0, 1, 2, 0, FULL, FULL, 1, 0, 2, 2, FULL)


def generator():
    return torch.Generator().manual_seed(0)


def heads(target, capacity, limits):
    return [(perturbed_exit(target, layer, capacity, 0.05), limit) for layer, limit in enumerate(limits)]


class Scripted(Leaving):
    """Tokens leave as a script says, whatever the heads say, some of which are passed by."""

    def __init__(self, *given):
        super().__init__(*given)
        self.seen = []

    def leave(self, session, token, position):
        wanted = SCRIPT[len(self.seen)]
        found = None
        for number, (head, _) in enumerate(self.heads[: wanted + 1]):
            hidden = session.deepen(head.depth) if number else session.extend(token, head.depth)
            if number == wanted or len(self.seen) % 2:
                found = head.logits(session, hidden, position)
        self.seen.append(None if wanted == FULL else found.clone())
        return None if wanted == FULL else (found, wanted)


@pytest.mark.parametrize(("capacity", "policy"), [("translator", GREEDY), ("head_block", WARM), ("adapter", GREEDY)])
def test_a_token_that_left_early_is_whole_to_those_that_go_deeper(capacity, policy, monkeypatch):
    """One at ¼, then one at ¾, then one to the full depth, …: each says what one pass over the whole text says."""
    target = tiny_llama()
    leaving = Scripted(target, heads(target, capacity, (0.0, 0.0, 0.0)))
    verified = []
    draw = Policy.draw

    def noting(self, logits, generator):
        verified.append(logits.clone())
        return draw(self, logits, generator)

    monkeypatch.setattr(Policy, "draw", noting)
    made = unverified(target, leaving, PROMPT, policy, len(SCRIPT), generator())
    assert made.layers == list(SCRIPT)
    assert made.full == SCRIPT.count(FULL)
    whole = torch.tensor([[*PROMPT, *made.tokens]])
    step = target.step([0], whole.shape[1])
    with torch.no_grad():
        for place, layer in enumerate(SCRIPT):
            at = len(PROMPT) - 1 + place
            if layer == FULL:
                expected = target(whole)[0, at]
            else:
                head = leaving.heads[layer][0]
                states = target.run(target.embed(whole), 0, head.depth, step)
                expected = head.exit.logits(states, step)[0, at]
            torch.testing.assert_close(verified[place][0], expected, atol=2e-4, rtol=2e-4)


def test_where_no_head_is_sure_it_is_the_target_and_where_the_first_always_is_that_head_alone():
    target = tiny_llama()
    never = unverified(
        target, Leaving(target, heads(target, "translator", (-1.0, -1.0))), PROMPT, GREEDY, 12, generator()
    )
    assert never.tokens == vanilla(target, [PROMPT], GREEDY, 12, generator()).tokens[0]
    assert (never.full, set(never.layers)) == (12, {3})
    found = judged(target, PROMPT, never.tokens)
    assert (found.tokens, found.disagreeing) == (12, 0)

    (head, _), *_ = heads(target, "translator", (None,))
    fixed = unverified(target, Leaving(target, [(head, None)]), PROMPT, GREEDY, 12, generator())
    text = list(PROMPT)
    for _ in range(12):  # the head alone, token by token, each time over the whole text
        whole = torch.tensor([text])
        step = target.step([0], len(text))
        with torch.no_grad():
            text.append(int(head.logits(target.run(target.embed(whole), 0, head.depth, step), step)[0, -1].argmax()))
    assert fixed.tokens == text[len(PROMPT) :]
    assert (fixed.full, set(fixed.layers)) == (0, {0})


def test_what_strays_is_counted_and_its_perplexity_is_the_targets():
    target = tiny_llama()
    leaving = Leaving(target, heads(target, "head", (1.6, 2.0, 2.6)))
    seen = []
    made = unverified(target, leaving, PROMPT, GREEDY, 30, generator(), on_token=lambda *it: seen.append(it))
    assert seen == list(zip(made.tokens, made.layers, strict=True))
    assert len(set(made.layers)) > 2
    found = judged(target, PROMPT, made.tokens)
    with torch.no_grad():
        log_p = target(torch.tensor([[*PROMPT, *made.tokens]])).log_softmax(-1)[0, len(PROMPT) - 1 : -1]
    said = torch.tensor(made.tokens)
    assert found.disagreeing == int((log_p.argmax(-1) != said).sum()) > 0
    assert found.nats == pytest.approx(-float(log_p.gather(1, said.unsqueeze(1)).sum()), rel=1e-4)
    assert math.isfinite(found.nats)
    full = [place for place, layer in enumerate(made.layers) if layer == 3]
    assert all(log_p[place].argmax() == made.tokens[place] for place in full)  # at the full depth it is the target's


def test_it_ends_at_an_end_of_text():
    target = tiny_llama()
    leaving = Leaving(target, heads(target, "translator", (2.0, 2.5)))
    whole = unverified(target, leaving, PROMPT, GREEDY, 20, generator()).tokens
    ends = frozenset(whole[7:8])
    assert (
        unverified(target, leaving, PROMPT, GREEDY, 20, generator(), ends).tokens == whole[: whole.index(whole[7]) + 1]
    )
