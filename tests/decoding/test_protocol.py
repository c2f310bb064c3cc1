"""What the loop and its drafters promise each other: depths of drafted tokens, outcomes, states to learn from."""

import pytest
import torch
from tiny_llama import perturbed_exit, tiny_llama

from selfdraft.decoding.drafter import Draft
from selfdraft.decoding.loop import speculate, vanilla
from selfdraft.decoding.policy import Policy
from selfdraft.drafters.exit import ExitDrafter
from selfdraft.drafters.lookup import LookupDrafter
from selfdraft.drafters.model import ModelDrafter
from selfdraft.errors import StudyError
from selfdraft.models.exit import untrained_exit

GREEDY, WARM = Policy("greedy"), Policy("warm", 0.9)
PROMPTS = [[3, 1, 4], [1, 5], [9, 2, 6, 5, 3, 5]]


def generator():
    return torch.Generator().manual_seed(0)


class Guesses:
    """Drafts guesses of the logit lens, whose tokens leave at `leaves`, one depth after the other."""

    learns = False

    def __init__(self, target, leaves, depths=(), lie=False):
        self.target, self.leaves, self.depths, self.lie = target, leaves, depths, lie
        self.heard, self.prompt = [], {}

    def start(self, session):
        self.prompt = session.prompt_features

    def draft(self, session, gamma, policy, generator):
        tokens, token = [], session.pending
        for place in range(gamma):
            hidden = session.extend(token, self.leaves[place % len(self.leaves)])
            token = self.target.logits(hidden)[:, -1].argmax(-1, keepdim=True)
            tokens.append(token)
        if self.lie:
            tokens[0] = (tokens[0] + 1) % self.target.config.vocab_size
        return Draft(torch.cat(tokens, dim=1))

    def observe(self, outcome):
        self.heard.append(outcome)


@pytest.mark.parametrize("leaves", [(1, 3), (3, 1), (0, 2), (4, 0), (2,)])
@pytest.mark.parametrize("depths", [(), (0, 2, 4), (1, 3)])
def test_tokens_of_one_draft_may_leave_at_different_depths(leaves, depths):
    target = tiny_llama()
    drafter = Guesses(target, leaves, depths)
    truth = vanilla(target, PROMPTS, GREEDY, 25, generator()).tokens
    assert speculate(target, drafter, PROMPTS, GREEDY, 4, 25, generator()).tokens == truth


def test_outcomes_hold_the_states_of_the_accepted_path_at_the_depths_asked_for():
    """Put together over all cycles they are those of one forward pass over the whole text, and so are the logits."""
    target, depths = tiny_llama(), (0, 1, 3, 4)
    drafter = Guesses(target, (3, 1), depths)
    tokens = speculate(target, drafter, PROMPTS, GREEDY, 3, 20, generator()).tokens
    assert {accepted for outcome in drafter.heard for accepted in outcome.accepted} >= {0, 1}
    for row, prompt in enumerate(PROMPTS):
        text = torch.tensor([prompt + tokens[row]])
        step = target.step([0], text.shape[1])
        with torch.no_grad():
            states = {depth: target.run(target.embed(text), 0, depth, step)[0] for depth in depths}
        seen = 0
        for outcome in drafter.heard:
            if outcome.tokens[row]:
                begin, count = outcome.starts[row], outcome.accepted[row] + 1
                assert outcome.tokens[row] == text[0, begin + 1 : begin + 1 + count].tolist()
                for depth in depths:
                    found = outcome.features[depth][row, :count]
                    torch.testing.assert_close(found, states[depth][begin : begin + count], atol=1e-4, rtol=1e-4)
                expected = target.logits(states[4][begin : begin + count])
                torch.testing.assert_close(outcome.logits[row, :count], expected, atol=1e-4, rtol=1e-4)
                seen += count
        assert seen > 10
        for depth in depths:
            found = drafter.prompt[depth][row, : len(prompt) - 1]
            torch.testing.assert_close(found, states[depth][: len(prompt) - 1], atol=1e-4, rtol=1e-4)


def test_a_draft_of_other_tokens_than_those_run_is_noticed():
    target = tiny_llama()
    with pytest.raises(RuntimeError, match=r"row 0, place 1 of the draft: token \d+ was run .* is proposed"):
        speculate(target, Guesses(target, (2,), lie=True), PROMPTS, GREEDY, 3, 20, generator())


def test_a_depth_that_the_target_does_not_have_is_one_clear_line():
    with pytest.raises(StudyError, match=r"drafter: depth 5 is not one of the target's \(0…4\)"):
        speculate(tiny_llama(), Guesses(None, (1,), (5,)), PROMPTS, GREEDY, 3, 20, generator())


def test_a_drafter_that_learns_gets_states_with_which_it_can():
    target = tiny_llama()

    class Learning(Guesses):
        learns = True
        weight = torch.nn.Parameter(torch.zeros(target.config.hidden_size))

        def observe(self, outcome):
            hidden = outcome.features[2] + self.weight
            (torch.log_softmax(target.head(hidden), -1) * outcome.logits.softmax(-1)).sum().neg().backward()
            self.heard.append(float(self.weight.grad.abs().sum()))

    drafter = Learning(target, (2,), (2,))
    truth = vanilla(target, PROMPTS, GREEDY, 20, generator()).tokens
    assert speculate(target, drafter, PROMPTS, GREEDY, 3, 20, generator()).tokens == truth
    assert all(gradient > 0 for gradient in drafter.heard)
    drafter.learns = False
    with pytest.raises(RuntimeError, match=r"does not require grad|[Ii]nference"):
        speculate(target, drafter, PROMPTS, GREEDY, 3, 20, generator())


class Turns:
    """Prompt lookup of the target's own answer every other time: long drafts, accepted, that `other` has not run."""

    learns = False

    def __init__(self, other, answers):
        self.other, self.answers, self.depths, self.cycle = other, answers, other.depths, 0

    def start(self, session):
        self.prompts = [len(text) for text in session.text]
        self.other.start(session)

    def draft(self, session, gamma, policy, generator):
        self.cycle += 1
        if self.cycle % 3:
            found = []
            for row, text in enumerate(session.text):
                at = len(text) - self.prompts[row]
                found.append(self.answers[row][at : at + gamma - row])
            return Draft.of_lists(found, session.pending.device)
        return self.other.draft(session, gamma, policy, generator)

    def observe(self, outcome):
        self.other.observe(outcome)


@pytest.mark.parametrize("kind", ["head_block", "adapter", "model"])
def test_a_drafter_beside_prompt_lookup_catches_up_whatever_was_accepted(kind):
    """Drafts of the target itself must all be accepted, also after long drafts that others made."""
    target = tiny_llama(layers=2)
    if kind == "model":
        drafter = ModelDrafter(target, target)
    else:
        drafter = ExitDrafter(target, untrained_exit(target, 1, kind, torch.float32))
    truth = vanilla(target, PROMPTS, GREEDY, 60, generator()).tokens
    result = speculate(target, Turns(drafter, truth), PROMPTS, GREEDY, 4, 60, generator())
    assert result.tokens == truth
    whole = [cycle for cycle in result.cycles if not cycle.cut]
    assert len(whole) > 20
    assert all(cycle.accepted == cycle.drafted for cycle in whole)


@pytest.mark.parametrize("policy", [GREEDY, WARM], ids=["greedy", "warm"])
def test_every_drafter_hears_every_verification(policy):
    target = tiny_llama()
    model = tiny_llama(layers=1, seed=3)
    for drafter in (
        LookupDrafter(2),
        ModelDrafter(target, model),
        ExitDrafter(target, perturbed_exit(target, 1, "head_block"), adapt=True),
    ):
        heard = []
        original = drafter.observe
        drafter.observe = lambda outcome, original=original, heard=heard: (heard.append(outcome), original(outcome))
        result = speculate(target, drafter, PROMPTS, policy, 3, 20, generator())
        assert sum(len(row) for row in result.tokens) == sum(len(cycle.tokens) for cycle in result.cycles) == 60
        assert sum(len(outcome.decided) for outcome in heard) >= len(result.cycles) - len(PROMPTS)
        assert all(outcome.verify_s > 0 for outcome in heard)
