"""The variance of an update's gradient is estimated without bias, and from texts that are not in both halves."""

import json

import pytest
import torch
from online.learning import PROMPT, all_records, decode, enumerable, learner_on

from selfdraft.online.noise import halves_of, variance


@pytest.mark.parametrize(("one", "other"), [(8, 8), (3, 13)])
def test_its_mean_is_the_variance_of_the_mean_of_records(one, other):
    generator, count = torch.Generator().manual_seed(0), one + other
    spread = torch.tensor([0.5, 1.0, 3.0])
    found = []
    for _ in range(4000):
        records = 2 + spread * torch.randn((count, 3), generator=generator)  # each record's gradient
        parameter = torch.nn.Parameter(torch.zeros(3))
        parameter.grad = records.mean(0)
        found.append(variance([records[:one].sum(0) / count], [parameter], one, other))
    estimates = torch.tensor(found)
    error = float(estimates.std()) / len(found) ** 0.5
    assert float(estimates.mean()) == pytest.approx(float(spread.square().sum()) / count, abs=4 * error)


def test_no_text_is_in_both_halves():
    texts = torch.tensor([7, 3, 7, 7, 3, 9, 9, 9, 9])
    first, second = halves_of(texts)
    assert sorted([*first.tolist(), *second.tolist()]) == list(range(9))
    assert not set(texts[first].tolist()) & set(texts[second].tolist())
    assert {len(first), len(second)} == {4, 5}  # 3 and 7 against 9
    assert [half.tolist() for half in halves_of(torch.tensor([5, 5, 5, 5]))] == [[0, 1], [2, 3]]
    assert [half.tolist() for half in halves_of(torch.tensor([5]))] == [[0]]


@pytest.mark.parametrize(("share", "capacity"), [("head", "translator"), ("split", "lora")])
def test_texts_that_agree_leave_no_noise_and_texts_that_differ_do(share, capacity):
    learner, drafter = learner_on(
        enumerable(), capacity, share=share, objective="policy_gradient", draft="sample", fast_batch=1000
    )
    decode(learner, drafter, [PROMPT, PROMPT], 12, gamma=3)
    records = all_records(learner)
    one = records.at(records.sequence == 0)
    both = torch.cat((torch.arange(len(one)), torch.arange(len(one))))
    twice = one.at(both)
    twice.sequence = both.new_tensor([0] * len(one) + [1] * len(one))
    learner.texts["1"] = learner.texts.get("0", [])

    def noise():
        for parameter in learner.parameters:
            parameter.grad = None
        *_, found = learner._gradients(twice, {"reward": 1.0})
        return found, learner._norm() ** 2

    found, square = noise()
    assert square > 0
    assert found < 1e-6 * square
    twice.reward = torch.cat((one.reward, 1 - one.reward))  # the one text says the opposite of the other
    found, square = noise()
    assert found > 0.5 * square


def test_each_line_of_the_log_has_it():
    lines = []
    learner, drafter = learner_on(enumerable(), "translator", log=lines.append, draft="sample", fast_batch=2)
    decode(learner, drafter, [PROMPT, PROMPT[:3]], 30)
    rows = [json.loads(line) for line in lines]
    assert len(rows) > 2
    assert all(row["grad_variance"] > 0 for row in rows)
    assert learner.gradients["grad_variance"] == pytest.approx(sum(row["grad_variance"] for row in rows))
    assert learner.gradients["grad_square"] == pytest.approx(sum(row["grad_norm"] ** 2 for row in rows))
