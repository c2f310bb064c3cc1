"""Warps equal transformers'; the accept rule gives the target's distribution exactly."""

import pytest
import torch
from scipy.stats import chisquare

from selfdraft.decoding.accept import accept, overlap
from selfdraft.decoding.policy import Policy, sample
from selfdraft.errors import StudyError


@pytest.mark.parametrize(
    ("temperature", "top_p", "top_k"),
    [(0.7, 0.95, 0), (1.0, 1.0, 5), (1.5, 0.8, 40), (0.3, 0.5, 1), (1.0, 1.0, 0)],
)
def test_distribution_equals_transformers_warpers(temperature, top_p, top_k):
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    logits = torch.randn(4, 3000, generator=torch.Generator().manual_seed(0)) * 2
    scores = TemperatureLogitsWarper(temperature)(None, logits)
    scores = TopKLogitsWarper(top_k)(None, scores) if top_k else scores
    scores = TopPLogitsWarper(top_p)(None, scores) if top_p < 1 else scores
    ours = Policy("p", temperature, top_p, top_k).distribution(logits)
    torch.testing.assert_close(ours, scores.softmax(-1), atol=1e-6, rtol=1e-5)


def test_flat_rows_have_their_whole_nucleus_and_change_no_other_row():
    """Nuclei of 4, 1,600 and 19,000 tokens: rows are looked at again alone, in two more rounds."""
    logits = torch.randn(3, 4, 20_000, generator=torch.Generator().manual_seed(0))
    logits[0] *= 8
    logits[1] *= 3.5
    logits[2] *= 0.01
    policy = Policy("nucleus", 1.0, top_p=0.95)
    ours = policy.distribution(logits)
    kept = (ours > 0).sum(-1)
    assert kept[0].max() < 256 < kept[1].min()
    assert kept[1].max() < 2048 < kept[2].min()
    ordered = logits.softmax(-1).sort(-1, descending=True).values.cumsum(-1)
    assert torch.equal(kept, 1 + (ordered < 0.95).sum(-1))
    for group in range(3):
        for row in range(4):
            assert torch.equal(ours[group, row], policy.distribution(logits[group, row : row + 1])[0])


def test_greedy_is_the_limit_of_low_temperature():
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(Policy("g").distribution(logits), Policy("cold", 1e-4).distribution(logits))


@pytest.mark.parametrize("bad", [{"temperature": -1}, {"top_p": 0}, {"top_p": 1.2}, {"top_k": -2}, {"topp": 0.9}])
def test_bad_policies_name_their_key(bad):
    with pytest.raises(StudyError, match=r"policies\.mine\.(temperature|top_p|top_k|topp): "):
        Policy.from_settings("mine", bad)


def test_sample_follows_the_weights_and_never_draws_zero():
    weights = torch.tensor([0.0, 3.0, 0.0, 1.0, 0.0]).repeat(40_000, 1)
    drawn = sample(weights, torch.Generator().manual_seed(0)).flatten().bincount(minlength=5)
    assert drawn[[0, 2, 4]].sum() == 0
    assert chisquare(drawn[[1, 3]], [30_000, 10_000]).pvalue > 1e-3


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("cut", [False, True])
def test_the_first_token_is_distributed_as_p_whatever_q_is(deterministic, cut):
    """One drafted position: accepted-or-residual must follow p[0]; the bonus must follow p[1]."""
    n, vocab = 200_000, 7
    generator = torch.Generator().manual_seed(4)
    p = torch.softmax(torch.randn(2, vocab, generator=generator) * 1.5, -1)
    p[0, 2] = 0  # a token that p excludes
    p[0] /= p[0].sum()
    q = torch.softmax(torch.randn(vocab, generator=generator) * 1.5, -1)
    rows = q.repeat(n, 1)
    tokens = torch.full((n, 1), 3) if deterministic else sample(rows, generator)
    lengths = torch.zeros(n, dtype=torch.int64) if cut else None
    accepted, following = accept(
        p.repeat(n, 1, 1), tokens, None if deterministic else rows.unsqueeze(1), generator, lengths
    )
    first = torch.where(accepted > 0, tokens[:, 0], following[:, 0]).bincount(minlength=vocab)
    assert first[2] == 0
    keep = p[0] > 0
    assert chisquare(first[keep], (p[0] * n)[keep].double() * (first.sum() / (p[0] * n).sum().double())).pvalue > 1e-3
    if cut:
        assert accepted.sum() == 0
        return
    rate = overlap(p.unsqueeze(0), tokens[:1], None if deterministic else q.view(1, 1, -1))[0, 0]
    assert (accepted.double().mean() - rate).abs() < 0.005
    bonus = following[accepted == 1, 0].bincount(minlength=vocab)
    expected = p[1].double() * bonus.sum()
    assert chisquare(bonus, expected * (bonus.sum() / expected.sum())).pvalue > 1e-3
