"""Learning: the schedule, when it is time, what finds the right token, what is kept when a loss breaks."""

import math

import pytest
import torch
from online.learning import decode, learner_on
from tiny_llama import tiny_llama

from selfdraft.errors import StudyError
from selfdraft.online import learner as learner_module
from selfdraft.online import objectives
from selfdraft.online.learner import Broken
from selfdraft.online.records import Records
from selfdraft.online.schedule import OBJECTIVES, Mixture, weights_of
from selfdraft.online.settings import OnlineSettings

TARGET = tiny_llama()


@pytest.mark.parametrize(
    ("update", "distil", "reward", "near"),
    [
        (0, 0.5, 0.0, 1.0),
        (99, 0.5, 0.0, 1.0),
        (100, 0.5, 0.0, 1.0),
        (150, 0.25, 0.1, 0.55),
        (200, 0.0, 0.2, 0.1),
        (1000, 0.0, 0.2, 0.1),
    ],
)
def test_the_composite_objective_moves_from_the_verifier_to_the_reward(update, distil, reward, near):
    found = Mixture(100).weights(update)
    assert found == pytest.approx({"distil": distil, "ce": 0.5, "reward": reward, "near": near})
    assert weights_of("composite", Mixture(100), update).keys() == {name for name, value in found.items() if value}


def test_without_a_warm_up_it_has_moved_from_the_start():
    assert Mixture(0).moved(0) == 1.0
    assert {name: weights_of(name, Mixture(), 7) for name in OBJECTIVES[1:-1]} == {
        "kl": {"distil": 1.0},
        "ce": {"ce": 1.0},
        "policy_gradient": {"reward": 1.0},
        "tv": {"overlap": 1.0},
    }


def bandit(learner, best, steps):
    """One state, one token that is accepted; returns the draft's probability of it in the end."""
    hidden = torch.linspace(-1, 1, TARGET.config.hidden_size).unsqueeze(0)
    # a last state after which the verifier is all but sure of `best`
    peaked = TARGET.head.weight[best].detach() / TARGET.norm.weight.clamp_min(0.05)
    certain = learner.pair.verifier_logits(peaked.unsqueeze(0)).argmax(-1)
    assert certain.item() == best
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        with torch.no_grad():
            q = learner.pair.serving.head(learner.pair.serving(hidden.unsqueeze(0), None))[0, 0].softmax(-1)
        if q[best] > 0.8:
            break
        token = torch.multinomial(q, 1, generator=generator)
        reward = (token == best).float()
        unknown = torch.full((1,), torch.nan)
        place = torch.zeros(1, dtype=torch.int64)
        records = Records(hidden, peaked.unsqueeze(0), token, reward, reward, unknown, place, place, place)
        learner.receive(records, {"drafted": 1})
    return float(q[best])


@pytest.mark.parametrize("objective", OBJECTIVES[:-1])
def test_the_token_that_is_always_accepted_is_found(objective):
    settings = {"fast_batch": 4, "learning_rate": 0.02, "warmup": 5, "baseline_momentum": 0.8, "buffer": 64}
    learner, _ = learner_on(TARGET, draft="sample", objective=objective, **settings)
    with torch.no_grad():
        hidden = torch.linspace(-1, 1, TARGET.config.hidden_size).unsqueeze(0)
        q = learner.pair.draft_logits(hidden)[0].softmax(-1)
    best = max((token for token in range(61) if 0.005 < q[token] < 0.05 and _reachable(token)), key=lambda t: q[t])
    assert bandit(learner, best, 1500) > 0.8
    assert learner.updates > 1


def _reachable(token):
    """Whether the bandit's verifier can be made sure of it."""
    peaked = TARGET.head.weight[token].detach() / TARGET.norm.weight.clamp_min(0.05)
    return TARGET.logits(peaked.unsqueeze(0)).argmax(-1).item() == token


def test_without_a_record_accepted_an_update_comes_all_the_same():
    learner, _ = learner_on(TARGET, fast_batch=2)
    hidden, place = torch.ones(1, TARGET.config.hidden_size), torch.zeros(1, dtype=torch.int64)
    nothing = torch.zeros(1)
    came = [
        learner.receive(Records(hidden, hidden, place, nothing, nothing, nothing * torch.nan, place, place, place), {})
        for _ in range(16)
    ]
    assert came == [False] * 15 + [True]


def test_the_gradient_is_the_same_in_parts(monkeypatch):
    found = []
    for rows in (1000, 3):
        monkeypatch.setattr(learner_module, "ROWS", rows)
        learner, drafter = learner_on(TARGET, fast_batch=10**9, layer=2)
        decode(learner, drafter, [[1, 2, 3]], 30)
        records = learner.buffer.read(learner.buffer.newest(len(learner.buffer)))
        weights = {"distil": 0.3, "ce": 0.5, "reward": 0.2, "near": 0.1, "overlap": 0.7}
        losses, entropy, *_ = learner._gradients(records, weights)
        found.append((losses, entropy, [parameter.grad.clone() for parameter in learner.parameters]))
    (losses, entropy, gradients), (in_parts, entropy_in_parts, gradients_in_parts) = found
    assert in_parts == pytest.approx(losses, rel=1e-4)
    assert entropy_in_parts == pytest.approx(entropy, rel=1e-4)
    torch.testing.assert_close(gradients_in_parts, gradients, rtol=1e-3, atol=1e-6)


def test_a_line_an_update_says_how_it_went():
    import json

    lines = []
    learner, drafter = learner_on(
        TARGET, fast_batch=1, layer=2, amount=0.1, log=lambda line: lines.append(json.loads(line))
    )
    decode(learner, drafter, [[1, 2, 3]], 60)
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    assert len(lines) >= 5
    wanted = ("loss_rl", "loss_slow", "accept_rate", "ppl_sample", "baseline", "reward", "entropy", "grad_norm")
    assert set(wanted) | {"staleness", "decoding_s", "learning_s"} <= lines[0].keys()
    baseline = 0.0
    for line in lines:
        assert line["baseline"] == pytest.approx(baseline)
        baseline = 0.99 * baseline + 0.01 * line["reward"]
        assert 0 <= line["accept_rate"] <= 1 <= line["ppl_sample"]
        assert 0 < line["entropy"] < math.log(61)
        assert line["grad_norm"] > 0
        assert line["records"] >= line["replayed"]
    assert lines[0]["staleness_most"] == lines[0]["replayed"] == 0
    assert max(line["staleness_most"] for line in lines) > 1


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_broken_loss_leaves_the_draft_as_it_was(where, monkeypatch):
    learner, drafter = learner_on(TARGET, fast_batch=1, layer=2, amount=0.1, objective="ce")
    decode(learner, drafter, [[1, 2, 3]], 20)
    before, updates = [parameter.clone() for parameter in learner.parameters], learner.updates
    served = {name: tensor.clone() for name, tensor in learner.pair.serving.norm.named_parameters()}
    assert updates > 0

    class Rough(torch.autograd.Function):
        @staticmethod
        def forward(context, x):
            return x.clone()

        @staticmethod
        def backward(context, grad):
            return grad * torch.nan

    def broken(seen, log_policy):
        loss = objectives.ce(seen, log_policy)
        return loss * torch.nan if where == "loss" else Rough.apply(loss)

    monkeypatch.setitem(objectives.MADE, "ce", broken)
    with pytest.raises(Broken, match=rf"update {updates + 1}: its .* is nan; lower the learning rate"):
        decode(learner, drafter, [[1, 2, 3]], 20)
    assert all(torch.equal(one, two) for one, two in zip(learner.parameters, before, strict=True))
    assert all(torch.equal(tensor, served[name]) for name, tensor in learner.pair.serving.norm.named_parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "reinforce"}, 'objective: "reinforce" is not known; known are composite, kl, ce'),
        ({"share": "half"}, 'share: "half" is not known; known are head, split, shared'),
        ({"draft": "beam"}, 'draft: "beam" is not known; known are argmax, sample'),
        ({"fast_batch": 0}, "fast_batch: 0 is not ≥ 1"),
        ({"buffer": 0}, "buffer: 0 is not ≥ 1"),
        ({"baseline_momentum": 1.0}, "baseline_momentum: 1.0 is not in [0, 1)"),
        ({"baseline_momentum": -0.1}, "baseline_momentum: -0.1 is not in [0, 1)"),
        ({"tau": 0.0}, "tau: 0.0 is not > 0"),
        ({"temperature": math.nan}, "temperature: NaN is not a number"),
        ({"learning_rate": -1.0}, "learning_rate: -1.0 is not ≥ 0"),
        ({"replay": -1.0}, "replay: -1.0 is not ≥ 0"),
    ],
)
def test_settings_that_make_no_sense_are_one_line(settings, message):
    with pytest.raises(StudyError) as error:
        OnlineSettings(**settings)
    assert str(error.value).startswith(message)
