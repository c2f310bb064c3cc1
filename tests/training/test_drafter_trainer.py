"""Training a drafter on its own unrolled steps: it can learn a text by heart, and goes on where it stopped."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from tiny_llama import hidden_states, tiny_llama

from selfdraft.decoding.loop import speculate, vanilla
from selfdraft.decoding.policy import Policy
from selfdraft.drafters.eagle3 import Eagle3Drafter
from selfdraft.errors import StudyError
from selfdraft.models.eagle3 import untrained_eagle3
from selfdraft.sequences import pack
from selfdraft.training.confidence import confidence_losses
from selfdraft.training.drafter_settings import LEARNING_RATES, DrafterSettings
from selfdraft.training.drafter_trainer import DrafterTrainer
from selfdraft.training.interruption import Stopped
from selfdraft.training.known import Known
from selfdraft.training.packed import packed
from selfdraft.training.saved import Saving
from selfdraft.training.states import CapturedStates

FEATURES = (1, 2, 4)
FAST = {"norm": 1e-2, "fc": 1e-2, "layer": 1e-2, "head": 1e-2}
SETTINGS = DrafterSettings(dtype="float32", learning_rate=FAST, tokens_per_step=40, evaluations=2, ttt_length=3)


@pytest.fixture(scope="module")
def target():
    return tiny_llama(scale=0.25)


def captured(target, rows):
    """States of (tokens, mask) pairs."""
    sequences = pack(rows, [{"id": str(i), "origin": str(i)} for i in range(len(rows))])
    kept = hidden_states(target, sequences, [*FEATURES, target.config.n_layers])
    return CapturedStates(sequences, kept, kept[target.config.n_layers], target)


def texts(count, length, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randint(61, (length + i,), generator=generator).tolist() for i in range(count)]
    return [(row, [0] * 5 + [1] * (len(row) - 5)) for row in rows]


def trainer(target, settings=SETTINGS, lines=None, kept=None, rows=None, check=None, **parts):
    ids = torch.arange(61) if kept is None else kept
    draft = untrained_eagle3(target, FEATURES, ids, torch.float32, fc_norm=True, norm_output=True, **parts)
    states = captured(target, rows or texts(6, 30))
    log = [].append if lines is None else lines.append
    return DrafterTrainer(target, draft, states, check or states, settings, log)


def test_a_drafter_trained_on_one_conversation_accepts_nearly_all_of_it():
    target = tiny_llama(kv_heads=4)
    prompt = [3, 14, 15, 9, 2, 6]
    answer = vanilla(target, [prompt], Policy("greedy"), 40, torch.Generator()).tokens[0]
    rows = [(prompt + answer, [0] * len(prompt) + [1] * len(answer))]
    settings = dataclasses.replace(SETTINGS, epochs=180, ttt_length=4, learning_rate=dict.fromkeys(FAST, 5e-3))
    made = trainer(target, settings, rows=rows)
    summary = made.run()
    assert summary["validation_accepted"] > 3.6
    drafter = Eagle3Drafter(target, made.draft)
    result = speculate(target, drafter, [prompt], Policy("greedy"), 4, 40, torch.Generator())
    assert result.tokens == [answer]
    whole = [cycle.accepted for cycle in result.cycles if not cycle.cut]
    assert sum(whole) / len(whole) > 3.2


@pytest.mark.parametrize(("share", "loss"), [(1.0, "lk"), (0.5, "tv"), (0.5, "kl")])
def test_a_run_that_goes_on_ends_as_one_that_never_stopped(target, tmp_path, share, loss):
    settings = dataclasses.replace(SETTINGS, epochs=2, evaluations=3, step_share=share, loss=loss)
    whole_lines, lines = [], []
    whole = trainer(target, settings, whole_lines)
    summary = whole.run()

    class After:
        left = 3

        def is_set(self):
            self.left -= 1
            return self.left <= 0

    saving = Saving(tmp_path / "state.safetensors", {"settings": dataclasses.asdict(settings)})
    before = trainer(target, settings, [])
    with pytest.raises(Stopped):
        before.run(saving, After())
    resumed = trainer(target, settings, lines)
    again = resumed.run(saving)
    assert again["seconds"] > before.learner.seconds > 0
    for found in (summary, again):
        del found["tokens_per_second"], found["seconds"]
    assert (again, lines) == (summary, whole_lines)
    told = [json.loads(line) for line in lines]
    assert told[-1]["validation_overlap_1"] > told[0]["validation_overlap_1"]
    for name, tensor in whole.draft.named_tensors().items():
        assert torch.equal(tensor, resumed.draft.named_tensors()[name]), name


def test_the_state_of_another_configuration_is_refused(target, tmp_path):
    class Now:
        def is_set(self):
            return True

    path = tmp_path / "state.safetensors"
    with pytest.raises(Stopped):
        trainer(target).run(Saving(path, {"ttt_length": 3}), Now())
    with pytest.raises(StudyError, match=r"ttt_length was 3, is 4; go back to that one, or remove the file"):
        trainer(target).run(Saving(path, {"ttt_length": 4}))


def test_the_log_says_each_steps_loss_and_what_would_be_accepted(target):
    lines = []
    trainer(target, lines=lines).run()
    rows = [json.loads(line) for line in lines]
    assert [row["step"] for row in rows] == list(range(len(rows)))
    measured = [row for row in rows if "validation_accepted" in row]
    assert len(measured) == 3
    assert {f"validation_{name}_{k}" for name in ("accuracy", "overlap", "kl") for k in (1, 2, 3)} < set(measured[-1])
    first, *rest = rows
    assert first["loss"] is None
    assert all({"loss_1", "loss_2", "loss_3", "outside", "rates", "grad_norm"} <= set(row) for row in rest)
    for row in rest:
        assert row["loss"] == pytest.approx(
            sum(row[f"loss_{k}"] * 0.8 ** (k - 1) for k in (1, 2, 3)) / (1 + 0.8 + 0.64)
        )


@pytest.mark.parametrize("bias_rank", [0, 4])
def test_what_is_measured_is_what_whole_distributions_say(target, bias_rank):
    """Accuracy, overlap and the accepted length of the untrained drafter, computed the long way."""
    kept = torch.arange(0, 61, 2)
    made = trainer(target, kept=kept, rows=texts(1, 40), bias_rank=bias_rank)
    if bias_rank:
        made.draft.bias.head.weight.data.normal_(generator=torch.Generator().manual_seed(1))
    found = made.measure()
    states = made.check
    (tokens,) = torch.from_numpy(states.sequences.tokens).long().unsqueeze(0)
    with torch.no_grad():
        outputs = made._outputs(states, packed(states.sequences, [0], 3), 3)
        p = torch.softmax(target.logits(states.final), -1)
        hits = torch.zeros(3, len(tokens), dtype=torch.bool)
        for step in range(3):
            q = torch.zeros_like(p)
            before = tokens[(torch.arange(len(tokens)) + 1 + step).clamp(max=len(tokens) - 1)]
            q[:, kept] = torch.softmax(made.draft.logits(outputs[step], before), -1)
            labels = torch.arange(5, len(tokens))
            mine, teachers = q[labels - 2 - step], p[labels - 1]
            assert found.overlap[step] == pytest.approx(float(torch.minimum(mine, teachers).sum(-1).mean()), abs=1e-5)
            agree = mine.argmax(-1) == teachers.argmax(-1)
            assert found.accuracy[step] == pytest.approx(float(agree.float().mean()))
            hits[step, labels - 2 - step] = agree
    whole = hits[:, 3 : len(tokens) - 4]  # rows of which all three steps predict an answer token
    assert found.accepted == pytest.approx(float(whole.long().cumprod(0).sum() / whole.shape[1]))


def test_positions_whose_best_token_cannot_be_drafted_teach_nothing(target):
    """A token that the draft does not have is no target: the loss of the others alone has gradients."""
    kept = torch.arange(0, 61, 2)
    lines = []
    made = trainer(target, kept=kept, lines=lines)
    states = made.learn
    known = Known(target, states.final, kept, torch.float32)
    places = torch.arange(1, len(states.sequences.tokens))
    best = target.logits(states.final).argmax(-1)[places - 1]
    assert torch.equal(known.of(places)[0], torch.isin(best, kept))
    made.run()
    shares = [json.loads(line)["outside"] for line in lines[1:]]
    assert all(0 < share < 1 for share in shares)


def test_the_drafter_learns_beside_a_confidence_head_as_without_it(target):
    kept, lines = torch.arange(0, 61, 2), []
    settings = dataclasses.replace(SETTINGS, gradient_clip=0.3, learning_rate=FAST | {"confidence": 3e-2})
    with_head, without = trainer(target, settings, lines, kept, confidence=True), trainer(target, settings, kept=kept)
    with_head.run()
    without.run()
    for name, tensor in without.draft.named_tensors().items():
        torch.testing.assert_close(with_head.draft.named_tensors()[name], tensor, atol=1e-6, rtol=1e-5, msg=name)
    first, *rest = [json.loads(line) for line in lines]
    assert all({f"confidence_loss_{k}" for k in (1, 2, 3)} <= set(row) for row in rest)
    for k in (1, 2, 3):
        assert rest[-1][f"validation_confidence_error_{k}"] < first[f"validation_confidence_error_{k}"]


def test_a_confidence_head_learns_how_much_of_each_distribution_the_teachers_overlaps(target):
    """All labels count, also those whose best token cannot be drafted; nothing but the head has a gradient."""
    kept = torch.arange(0, 61, 2)
    made = trainer(
        target, dataclasses.replace(SETTINGS, tokens_per_step=10), kept=kept, rows=texts(1, 40), confidence=True
    )
    made.draft.confidence.weight.data.normal_(std=0.3, generator=torch.Generator().manual_seed(1))
    states, draft, pack = made.learn, made.draft, packed(made.learn.sequences, [0], 3)
    labels, tokens = pack.labels, torch.from_numpy(states.sequences.tokens).long()
    p = torch.softmax(target.logits(states.final), -1)[labels - 1][:, kept]
    expected, errors = [], []
    with torch.no_grad():
        for step, output in enumerate(made._outputs(states, pack, 3)):
            at = output[labels - 2 - step]
            share = torch.minimum(p, torch.softmax(draft.logits(at), -1)).sum(-1)
            chance = draft.confidence.chance(draft.read(at))
            expected.append(float(-(share * chance.log() + (1 - share) * (1 - chance).log()).sum()))
            errors.append(float((share - chance).abs().mean()))
    outputs = made._predictions(states, pack, [labels] * 3)
    losses = confidence_losses(draft, made.known, outputs, [pack.index[labels]] * 3, [tokens[labels - 1]] * 3)
    assert losses.tolist() == pytest.approx(expected, rel=1e-4)
    losses.sum().backward()
    assert {name for name, one in draft.named_parameters() if one.grad is not None} == {
        "confidence.weight",
        "confidence.bias",
    }
    assert made.measure().missed == pytest.approx(errors, rel=1e-3)


def test_a_bias_by_the_token_before_learns_what_the_states_do_not_tell(target):
    """With all else held still, text in which each token decides the next is learnt by the bias alone."""
    held = dict.fromkeys(FAST, 0.0) | {"bias": 0.1}
    settings = dataclasses.replace(SETTINGS, start="last_layer", epochs=8, learning_rate=held)
    lines = []
    made = trainer(target, settings, lines, bias_rank=16)
    before = {name: tensor.clone() for name, tensor in made.draft.named_tensors().items()}
    made.draft.bias.head.weight.data.normal_(std=0.1, generator=torch.Generator().manual_seed(1))
    assert made._gradients(range(6))[0] == pytest.approx(made.measure().kl)  # the same text: what is learnt is measured
    made.learner.optimiser.zero_grad()
    made.draft.bias.head.weight.data.zero_()
    made.run()
    first, *_, last = [row for line in lines if "validation_kl_1" in (row := json.loads(line))]
    assert last["validation_kl_1"] < 0.8 * first["validation_kl_1"]
    moved = {name for name, tensor in made.draft.named_tensors().items() if not torch.equal(tensor, before[name])}
    assert moved == {"bias.embedding.weight", "bias.head.weight"}


def test_later_steps_learn_from_a_share_of_the_rows_and_weigh_as_much(target):
    """Each step's rows are among those of the step before; over many draws the gradient is that of all rows."""
    share = 0.5
    made = trainer(target, dataclasses.replace(SETTINGS, step_share=share))
    pack = packed(made.learn.sequences, range(6), 3)
    chosen = made._chosen(pack, pack.labels, torch.Generator().manual_seed(0))
    rows = [set((labels - 2 - step).tolist()) for step, labels in enumerate(chosen)]
    assert torch.equal(chosen[0], pack.labels)
    assert {row for row in rows[2] if row + 3 in pack.labels} <= rows[1]
    sizes = [len(labels) / len(pack.labels) for labels in chosen]
    assert sizes == pytest.approx([1, share, share**2], abs=0.12)
    whole = trainer(target)
    whole._gradients(range(6))
    for number in range(40):
        made._gradients(range(6), number)
    found, expected = (
        torch.cat([parameter.grad.flatten() for parameter in one.draft.parameters()]) for one in (made, whole)
    )
    assert torch.nn.functional.cosine_similarity(found, expected, 0) > 0.97
    assert float(found.norm()) / 40 == pytest.approx(float(expected.norm()), rel=0.1)


def test_labels_begin_where_every_step_has_a_row():
    rows = [([7] * 9, [1] * 9), ([8] * 5, [0, 0, 0, 0, 1])]
    sequences = pack(rows, [{"id": "a", "origin": "a"}, {"id": "b", "origin": "b"}])
    made = packed(sequences, [1, 0], 3)
    assert made.index.tolist() == [9, 10, 11, 12, 13, *range(9)]
    assert made.lengths == [5, 9]
    assert made.labels.tolist() == [4, *range(9, 14)]


def test_steps_longer_than_the_sequences_are_refused(target):
    with pytest.raises(StudyError, match=r"^training.ttt_length: 60 is too long for these data: .* has 35 tokens\)$"):
        trainer(target, dataclasses.replace(SETTINGS, ttt_length=60))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "mse"}, 'training.loss: "mse" is not known; known are kl, tv, lk'),
        ({"ttt_length": 0}, "training.ttt_length: 0 is not ≥ 1"),
        ({"step_decay": 0}, "training.step_decay: 0 is not > 0"),
        ({"step_share": 0}, "training.step_share: 0 is not in (0, 1]"),
        ({"learning_rate": {"block": 1e-3}}, "training.learning_rate.block: unknown key; known are norm, fc"),
        ({"learning_rate": {"fc": -1}}, "training.learning_rate.fc: -1 is not ≥ 0"),
        ({"momentum": 3}, "training.momentum: unknown key; known are start, ttt_length"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(StudyError) as error:
        DrafterSettings.from_dict(settings)
    assert str(error.value).startswith(message)


def test_every_part_has_a_rate(target):
    more = {"fc_norm": True, "bias_rank": 2, "confidence": True}
    draft = untrained_eagle3(target, FEATURES, torch.arange(9), torch.float32, **more)
    assert set(draft.parameter_groups()) == set(LEARNING_RATES)
    assert np.isclose(sum(DrafterSettings().weights), 1)
