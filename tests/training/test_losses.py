"""The chunked losses equal the plain forms, value and gradients, in float64; memory does not grow with tokens."""

import math

import pytest
import torch
import torch.nn.functional as F

from selfdraft.errors import StudyError
from selfdraft.training.losses import Objective, head_kls, head_losses, keep_for_next_step


def normal(*shape, seed, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def plain(draft, teacher, labels, objective):
    """The summed loss, written as in the papers."""
    T = objective.temperature
    p, q = F.softmax(teacher / T, -1), F.softmax(draft / T, -1)
    if objective.teacher_top_k:
        kept = p.topk(objective.teacher_top_k, -1)
        p = torch.zeros_like(p).scatter(1, kept.indices, kept.values)
        p = p / p.sum(-1, keepdim=True)
    if objective.divergence == "kl":
        value = F.kl_div(q.log(), p, reduction="sum")
    elif objective.divergence == "reverse_kl":
        value = F.kl_div(p.log(), q, reduction="sum")
    else:
        distances = 0.5 * (p - q).abs().sum(-1)
        if objective.divergence == "lk":
            weights = torch.exp(-3 * torch.minimum(p, q).sum(-1)).detach()
            kls = F.kl_div(q.log(), p, reduction="none").sum(-1)
            distances = weights * kls + (1 - weights) * distances
        value = distances.sum()
    return T**2 * value + objective.ce_weight * F.cross_entropy(draft, labels, reduction="sum")


OBJECTIVES = [
    Objective(T, divergence, ce_weight, top_k)
    for T in (0.5, 1.0, 4.0)
    for divergence in ("kl", "reverse_kl", "tv", "lk")
    for ce_weight in (0.0, 0.3)
    for top_k in (0, 7)
    if not (top_k and divergence == "reverse_kl")
]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
@pytest.mark.parametrize("chunk", [1, 5, 100])
def test_loss_and_gradients_equal_the_plain_form(objective, chunk):
    hidden, weight = normal(13, 8, seed=0).requires_grad_(), normal(31, 8, seed=1).requires_grad_()
    teacher_hidden, teacher_weight = normal(13, 8, seed=2), normal(31, 8, seed=3)
    labels = torch.arange(13) * 2
    wanted = plain(hidden @ weight.T, teacher_hidden @ teacher_weight.T, labels, objective)
    expected = torch.autograd.grad(3 * wanted, (hidden, weight))
    (loss,) = head_losses([[(hidden, weight)]], teacher_hidden, teacher_weight, labels, [objective], chunk)
    found = torch.autograd.grad(3 * loss, (hidden, weight))
    torch.testing.assert_close(loss, wanted)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_gradients_of_sums_of_products_are_slopes():
    inputs = normal(5, 4, seed=0), normal(11, 4, seed=2), normal(5, 2, seed=1), normal(11, 2, seed=3)
    teacher, head, labels = normal(5, 4, seed=4), normal(11, 4, seed=5), torch.arange(5)
    objectives = [Objective(2.0, "kl", 0.2), Objective(1.0, "reverse_kl")]

    def loss(hidden, weight, low, up):
        drafts = [[(hidden, weight), (low, up)], [(low, up), (2 * low, up)]]
        return head_losses(drafts, teacher, head, labels, objectives, 2).sum()

    slopes = torch.autograd.grad(loss(*(x.requires_grad_() for x in inputs)), inputs)
    for place, slope in enumerate(slopes):
        step = 1e-6 * normal(*slope.shape, seed=9)
        up, down = (
            [x.detach() + sign * step * (at == place) if at == place else x.detach() for at, x in enumerate(inputs)]
            for sign in (1, -1)
        )
        torch.testing.assert_close(loss(*up) - loss(*down), 2 * (slope * step).sum(), rtol=1e-4, atol=1e-12)


def test_several_drafts_at_once_are_each_as_if_alone():
    teacher, head, labels = normal(9, 8, seed=4).float(), normal(31, 8, seed=5).float(), torch.arange(9)
    objectives = [Objective(1.0), Objective(4.0, "tv"), Objective(1.0, "kl", 0.5, 3)]
    drafts = [(normal(9, 8, seed=i).float().requires_grad_(), normal(31, 8, seed=9 + i).float()) for i in range(3)]
    for _, weight in drafts:
        weight.requires_grad_()
    together = head_losses([[pair] for pair in drafts], teacher, head, labels, objectives, 4)
    (together * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    for place, (x, weight) in enumerate(drafts):
        grads = x.grad, weight.grad
        x.grad = weight.grad = None
        (alone,) = head_losses([[(x, weight)]], teacher, head, labels, [objectives[place]], 4)
        ((place + 1) * alone).backward()
        assert alone == together[place]
        assert torch.equal(grads[0], x.grad)
        assert torch.equal(grads[1], weight.grad)


def test_a_gradients_memory_is_used_again_and_nothing_of_it_is_left():
    teacher, head = normal(9, 8, seed=4).float(), normal(31, 8, seed=5).float()
    weight, labels = normal(31, 8, seed=6).float().requires_grad_(), torch.arange(9)

    def gradient(seed):
        x = normal(9, 8, seed=seed).float()
        head_losses([[(x, weight)]], teacher, head, labels, [Objective(1.0)], 4).sum().backward()
        return weight.grad

    expected = gradient(1).clone()
    weight.grad = None
    place = gradient(2).data_ptr()
    keep_for_next_step(weight)
    assert weight.grad is None
    again = gradient(1)
    assert again.data_ptr() == place
    assert torch.equal(again, expected)
    assert not hasattr(weight, "spare")


def test_a_frozen_head_gets_no_gradient():
    x, weight = normal(5, 4, seed=0).requires_grad_(), normal(11, 4, seed=1)
    loss = head_losses([[(x, weight)]], normal(5, 4, seed=2), weight, torch.arange(5), [Objective(1.0)])
    loss.sum().backward()
    assert x.grad is not None
    assert weight.grad is None


def test_a_draft_equal_to_its_teacher_has_no_gradient_even_in_bfloat16():
    weight = torch.randn(40, 16)
    hidden = torch.randn(9, 16).bfloat16().requires_grad_()
    master = weight.bfloat16().float().requires_grad_()
    labels = torch.zeros(9, dtype=torch.int64)
    loss = head_losses([[(hidden, master)]], hidden.detach(), weight.bfloat16(), labels, [Objective(1.0)])
    loss.sum().backward()
    assert loss == 0
    assert hidden.grad.abs().max() == 0
    assert master.grad.abs().max() == 0


@pytest.mark.parametrize("T", [1.0, 4.0])
def test_the_held_out_kl_is_that_of_the_whole_teacher_and_the_mass_left_out_is_told(T):
    x, weight, teacher, head = normal(7, 8, seed=0), normal(31, 8, seed=1), normal(7, 8, seed=2), normal(31, 8, seed=3)
    kls, left_out = head_kls([[(x, weight)]] * 2, teacher, head, [T, T], [0, 5], chunk=3)
    p = F.softmax(teacher @ head.T / T, -1)
    expected = F.kl_div(F.log_softmax(x @ weight.T / T, -1), p, reduction="sum")
    torch.testing.assert_close(kls, expected.expand(2))
    torch.testing.assert_close(left_out, torch.stack((torch.zeros(()), 7 - p.topk(5, -1).values.sum())).double())


def test_impossible_objectives_are_refused():
    with pytest.raises(StudyError, match="T: 0"):
        Objective(0)
    with pytest.raises(StudyError, match="T: inf"):
        Objective(math.inf)
    with pytest.raises(StudyError, match="divergence: 'mse' is unknown"):
        Objective(1.0, "mse")
    with pytest.raises(StudyError, match="does not go with objective reverse_kl"):
        Objective(1.0, "reverse_kl", teacher_top_k=3)
