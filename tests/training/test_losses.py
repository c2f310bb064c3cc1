"""The chunked loss equals the plain form, value and gradients, in float64."""

import pytest
import torch
import torch.nn.functional as F

from selfdraft.training.losses import Objective, head_loss


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("ce_weight", [0.0, 0.3])
@pytest.mark.parametrize("chunk", [1, 5, 100])
def test_loss_and_gradients_equal_the_plain_form(temperature, ce_weight, chunk):
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    hidden, weight = normal(13, 8).requires_grad_(), normal(31, 8).requires_grad_()
    teacher_hidden, teacher_weight = normal(13, 8), normal(31, 8)
    labels = torch.randint(0, 31, (13,), generator=generator)
    draft, teacher = hidden @ weight.T, teacher_hidden @ teacher_weight.T
    p = F.softmax(teacher / temperature, -1)
    kl = F.kl_div(F.log_softmax(draft / temperature, -1), p, reduction="batchmean")
    plain = temperature**2 * kl + ce_weight * F.cross_entropy(draft, labels)
    expected = torch.autograd.grad(3 * plain, (hidden, weight))
    objective = Objective(temperature, ce_weight)
    loss, kl_found = head_loss(hidden, weight, teacher_hidden, teacher_weight, labels, objective, chunk)
    found = torch.autograd.grad(3 * loss, (hidden, weight))
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(kl_found, kl)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_draft_equal_to_its_teacher_has_no_gradient_even_in_bfloat16():
    weight = torch.randn(40, 16)
    hidden = torch.randn(9, 16).bfloat16().requires_grad_()
    master = weight.bfloat16().float().requires_grad_()
    labels = torch.zeros(9, dtype=torch.int64)
    loss, _ = head_loss(hidden, master, hidden.detach(), weight.bfloat16(), labels, Objective(1.0))
    loss.backward()
    assert loss == 0
    assert hidden.grad.abs().max() == 0
    assert master.grad.abs().max() == 0
