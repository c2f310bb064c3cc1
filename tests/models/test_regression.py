"""The regression that drafts start from: least squares in closed form, shrunk towards a map that is known."""

import pytest
import torch

from selfdraft.models.linear import Linear
from selfdraft.models.low_rank_head import LowRankHead
from selfdraft.models.regression import Regression

CPU = torch.device("cpu")


def pairs(count=400, inputs=12, outputs=12, noise=0.1):
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(count, inputs, generator=generator)
    true = torch.randn(outputs, inputs, generator=generator)
    return x, x @ true.T + noise * torch.randn(count, outputs, generator=generator), true


def regression(x, y, **more):
    found = Regression(x.shape[1], y.shape[1], CPU, **more)
    for part in range(0, len(x), 150):
        found.add(x[part : part + 150], y[part : part + 150])
    return found


@pytest.mark.parametrize("outputs", [12, 7])
def test_without_a_penalty_it_is_least_squares(outputs):
    x, y, _ = pairs(outputs=outputs)
    torch.testing.assert_close(regression(x, y).solve(1e-12).T, torch.linalg.lstsq(x, y).solution, rtol=1e-3, atol=1e-4)


def test_it_solves_the_normal_equations_of_the_penalised_sum():
    x, y, _ = pairs()
    ridge = 0.3
    found = regression(x, y).solve(ridge).requires_grad_()
    penalty = ridge * x.square().sum(0).mean()
    loss = (x @ found.T - y).square().sum() + penalty * (found - torch.eye(12)).square().sum()
    (gradient,) = torch.autograd.grad(loss, found)
    assert gradient.abs().max() < 1e-3 * y.square().sum()
    at_identity = (x - y).square().sum()
    assert loss < 0.9 * at_identity


def test_more_penalty_brings_it_nearer_to_what_it_is_shrunk_to():
    x, y, _ = pairs()
    away = [float((regression(x, y).solve(ridge) - torch.eye(12)).norm()) for ridge in (1e-3, 1e-1, 10.0, 1e4)]
    assert away == sorted(away, reverse=True)
    assert away[-1] < 0.01


def test_states_that_are_the_final_ones_already_leave_the_identity_exactly():
    x, _, _ = pairs()
    assert torch.equal(regression(x, x).solve(), torch.eye(12))
    assert torch.equal(regression(x, x).scales(), torch.ones(12))
    assert torch.equal(Regression(12, 12, CPU).solve(), torch.eye(12))


def test_several_states_together_are_mapped_to_one_and_shrunk_to_a_map_of_choice():
    """As layers that fuse states of several depths will start."""
    x, y, true = pairs(inputs=36)
    last = torch.cat((torch.zeros(12, 24), torch.eye(12)), dim=1)
    assert torch.equal(regression(x, x[:, 24:], towards=last).solve(), last)
    torch.testing.assert_close(regression(x, y, towards=last).solve(1e-4), true, rtol=0.1, atol=0.1)


def test_scales_are_the_best_of_each_number_alone():
    x, y, _ = pairs()
    best = (x * y).sum(0) / (x * x).sum(0)
    torch.testing.assert_close(regression(x, y).scales(0.0), best, rtol=1e-4, atol=1e-5)


def test_a_low_rank_head_comes_as_near_to_the_heads_change_as_its_rank_lets_it():
    x, y, _ = pairs()
    weight = torch.randn(50, 12, generator=torch.Generator().manual_seed(2))
    found = regression(x, y)
    wanted = x @ found.solve().T @ weight.T
    errors = []
    for rank in (1, 6, 12):
        head = LowRankHead.untrained(Linear(weight), rank, torch.float32, 0)
        head.approach(found)
        errors.append(float((head(x) - wanted).norm() / wanted.norm()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-4
    best = torch.linalg.svdvals(x @ (found.solve() - torch.eye(12)).T @ weight.T)
    assert errors[1] == pytest.approx(float(best[6:].norm() / wanted.norm()), rel=1e-3)
    same = LowRankHead.untrained(Linear(weight), 4, torch.float32, 0)
    same.approach(regression(x, x))
    assert torch.equal(same(x), x @ weight.T)
