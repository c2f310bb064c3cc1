"""A draft that learns within a text changes the speed and nothing else; nothing of the old one stays in use."""

import pytest
import torch
from decoding.test_distribution import p_value
from online.learning import PROMPT, decode, enumerable, learner_on
from tiny_llama import perturbed_exit, tiny_llama

from selfdraft.decoding.loop import vanilla
from selfdraft.decoding.policy import Policy
from selfdraft.errors import StudyError
from selfdraft.models.exit import load_exit, save_exit
from selfdraft.models.linear import RMSNorm
from selfdraft.online.pair import Pair

CAPACITIES = ("norm", "translator", "low_rank_head", "head")
PROMPTS = [[3, 1, 4, 1, 5], [9, 2], [6, 5, 3, 5, 8, 9, 7]]


@pytest.mark.parametrize("draft", ["argmax", "sample"])
@pytest.mark.parametrize("packed", [False, True])
def test_greedy_text_is_the_targets_own_however_often_it_learns(draft, packed):
    target = tiny_llama()
    truth = vanilla(target, PROMPTS, Policy("greedy"), 40, torch.Generator()).tokens
    before = {name: tensor.clone() for name, tensor in target.named_parameters()}
    learner, drafter = learner_on(target, draft=draft, layer=2, fast_batch=1, learning_rate=0.02, warmup=3)
    if packed:
        target.pack()
    assert decode(learner, drafter, PROMPTS, 40).tokens == truth
    assert learner.updates > 10
    if not packed:  # head shares nothing that learns with the verifier
        assert all(torch.equal(tensor, before[name]) for name, tensor in target.named_parameters())


@pytest.mark.parametrize("draft", ["argmax", "sample"])
def test_sampled_text_is_distributed_as_the_targets_own_while_it_learns(draft):
    target = enumerable()
    learner, drafter = learner_on(
        target, draft=draft, temperature=1.0, fast_batch=800, learning_rate=0.05, warmup=2, buffer=512
    )
    result = decode(learner, drafter, [PROMPT] * 8_000, 4, gamma=2)
    assert learner.updates >= 2
    first = torch.tensor([row[:2] for row in result.tokens])
    observed = (first[:, 0] * 6 + first[:, 1]).bincount(minlength=36)
    with torch.no_grad():
        tokens = torch.tensor([[*PROMPT, token] for token in range(6)])
        p = target(tokens)[:, -2:].softmax(-1).double()
    probability = (p[0, 0].unsqueeze(1) * p[:, 1]).flatten()
    assert p_value(observed, probability) > 0.001


def served(pair, hidden):
    with torch.no_grad():
        return pair.serving.head(pair.serving(hidden, None))[0]


@pytest.mark.parametrize("capacity", CAPACITIES)
def test_what_is_drafted_with_is_what_was_learnt(capacity):
    target = tiny_llama()
    pair = Pair.of(perturbed_exit(target, 2, capacity), target)
    target.pack()
    hidden = torch.randn((1, 9, 32), generator=torch.Generator().manual_seed(0))
    old = served(pair, hidden)
    torch.testing.assert_close(old, pair.draft_logits(hidden[0]).detach())
    for parameter in pair.student.trained():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    # what learns does not draft before it is published
    assert torch.equal(served(pair, hidden), old)
    pair.publish()
    new = served(pair, hidden)
    torch.testing.assert_close(new, pair.draft_logits(hidden[0]).detach())
    assert float((new - old).abs().max()) > 0.1


def test_a_packed_norm_that_is_not_packed_anew_would_show(monkeypatch):
    monkeypatch.setattr(RMSNorm, "take", lambda self, weight: self.weight.data.copy_(weight))
    with pytest.raises(AssertionError):
        test_what_is_drafted_with_is_what_was_learnt("norm")


@pytest.mark.parametrize("capacity", CAPACITIES)
def test_from_the_logit_lens_on_every_trained_tensor_moves(capacity):
    """A product of two halves that are both zero never would."""
    learner, drafter = learner_on(tiny_llama(), capacity, layer=2, amount=0.0, fast_batch=2, learning_rate=1e-3)
    before = [parameter.clone() for parameter in learner.parameters]
    decode(learner, drafter, PROMPTS, 12)
    assert learner.updates > 1
    moved = [not torch.equal(one, two) for one, two in zip(before, learner.parameters, strict=True)]
    assert all(moved)


def test_what_it_learnt_is_saved_as_it_is(tmp_path):
    target = tiny_llama()
    learner, drafter = learner_on(target, "translator", layer=2, fast_batch=1)
    decode(learner, drafter, PROMPTS, 30)
    save_exit(learner.pair.student, tmp_path, torch.float32)
    from selfdraft.files import write_json
    from selfdraft.models.exit import target_identity

    keys = {"drafter": "dvi", "layer": 2, "T": 1.0, "capacity": "translator", "objective": "kl", "seed": 0}
    write_json(tmp_path / "config.json", keys | {"dataset": "", "target": target_identity(target)})
    loaded, _ = load_exit(tmp_path, target)
    for name, tensor in loaded.named_tensors().items():
        assert torch.equal(tensor, learner.pair.student.named_tensors()[name])


def test_an_exit_with_a_cache_is_refused():
    target = tiny_llama()
    with pytest.raises(StudyError, match="capacity: head_block attends"):
        Pair.of(perturbed_exit(target, 2, "head_block"), target)


def test_learning_in_half_precision_keeps_its_own_tensors_in_float32():
    target = tiny_llama().bfloat16()
    learner, drafter = learner_on(target, "translator", layer=2, fast_batch=1)
    decode(learner, drafter, PROMPTS, 12)
    assert {parameter.dtype for parameter in learner.parameters} == {torch.float32}
    serving = learner.pair.serving
    # Where the processor has bfloat16 instructions the translator's weights are packed: these are no parameters.
    packed = [getattr(one, "_packed", None) for one in serving.modules()]
    held = [*serving.parameters(), *(one for one in packed if one is not None)]
    assert {tensor.dtype for tensor in held} == {torch.bfloat16}
