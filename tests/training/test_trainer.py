"""Training lowers the held-out KL for every capacity, is seeded, keeps the best tensors, and stops when it diverges."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from tiny_llama import tiny_llama
from training.texts import captured, text_of

from selfdraft.capacities import CAPACITIES
from selfdraft.errors import StudyError
from selfdraft.models.exit import load_exit, save_exit, target_identity, untrained_exit
from selfdraft.training.batches import label_counts, make_batch, shares, steps
from selfdraft.training.optimised import learning_rate_factor
from selfdraft.training.saved import Saving
from selfdraft.training.settings import Settings
from selfdraft.training.states import ComputedStates
from selfdraft.training.trainer import Stopped, Trainer

FAST = {
    "norm": 1e-2,
    "head": 1e-2,
    "block": 3e-3,
    "translator": 1e-2,
    "low_rank_head": 1e-2,
    "adapter": 1e-2,
    "lora": 1e-2,
}


def run(target, layer, capacity, settings, temperature=1.0, teacher=None, online=False, **more):
    """The trained draft, its summary and its log."""
    return run_many(target, [(layer, capacity, temperature)], settings, teacher, online, **more)[0]


def run_many(target, chosen, settings, teacher=None, online=False, words=None, **more):
    drafts = [
        untrained_exit(target, layer, capacity, torch.float32, {"low_rank_head": 8, "lora": 4})
        for layer, capacity, _ in chosen
    ]
    lines = [[] for _ in drafts]
    depths = {draft.depth for draft in drafts}
    learn, check = [
        ComputedStates(text, target, teacher or target) if online else captured(target, text, depths, teacher)
        for text in (text_of(0, 40), text_of(1, 40))
    ]
    temperatures = [temperature for *_, temperature in chosen]
    logs = [made.append for made in lines]
    places = target, teacher or target, drafts, temperatures, learn, check
    summaries = Trainer(*places, settings, logs, words=words).run(**more)
    return [
        (draft, summary, [json.loads(line) for line in made])
        for draft, summary, made in zip(drafts, summaries, lines, strict=True)
    ]


def without_none(row):
    """A row of the log as numbers: what was not measured is -1, and each learning rate stands for itself."""
    return {name: -1 if value is None else value for name, value in (row | row["rates"]).items() if name != "rates"}


def test_batches_hold_every_answer_token_once_with_its_label():
    sequences = text_of(3)
    counts, seen = label_counts(sequences), []
    for group in steps(counts, 20, order=list(reversed(range(12)))):
        for part in shares(group, counts, 3):
            if not part:
                continue
            batch = make_batch(sequences, part)
            places = batch.index.flatten()[batch.positions]
            assert torch.equal(batch.labels, torch.from_numpy(sequences.tokens[places + 1].astype(np.int64)))
            seen += places.tolist()
    starts = set(sequences.offsets.tolist())
    expected = [t - 1 for t in np.flatnonzero(sequences.mask) if t not in starts]
    assert sorted(seen) == expected


def test_shares_are_of_about_equal_size():
    counts = [9, 1, 5, 5, 2, 2, 8, 0]
    parts = shares([0, 1, 2, 3, 4, 5, 6], counts, 2)
    assert sorted(i for part in parts for i in part) == [0, 1, 2, 3, 4, 5, 6]
    assert [sum(counts[i] for i in part) for part in parts] == [16, 16]
    assert shares([3], counts, 3) == [[3], [], []]


def test_all_tokens_masked_is_an_error():
    sequences = text_of(3)
    sequences.mask[:] = 0
    with pytest.raises(StudyError, match="every token is masked"):
        label_counts(sequences)


@pytest.mark.parametrize("capacity", CAPACITIES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_training_lowers_the_validation_kl(capacity, dtype):
    target = tiny_llama()
    settings = Settings(start="logit_lens", epochs=8, tokens_per_step=64, learning_rate=FAST, dtype=dtype)
    if dtype == "bfloat16":
        target = target.to(torch.bfloat16)
    _draft, summary, log = run(target, 1, capacity, settings)
    assert log[0]["step"] == 0
    assert summary["untrained_validation_kl"] == log[0]["validation_kl"]
    # a norm alone has 32 numbers to learn with
    assert summary["validation_kl"] < (0.97 if capacity == "norm" else 0.85) * log[0]["validation_kl"]
    assert summary["validation_kl"] == min(row["validation_kl"] for row in log if row["validation_kl"] is not None)
    assert log[-1]["step"] == summary["steps"] == len(log) - 1


@pytest.mark.parametrize("objective", ["kl", "reverse_kl", "tv", "kl_ce"])
def test_every_objective_lowers_the_validation_kl(objective):
    settings = Settings(
        start="logit_lens",
        objective=objective,
        ce_weight=0.1 * (objective == "kl_ce"),
        epochs=8,
        tokens_per_step=64,
        learning_rate=FAST,
    )
    _, summary, _ = run(tiny_llama(), 1, "head_block", settings)
    assert summary["validation_kl"] < 0.9 * summary["untrained_validation_kl"]


@pytest.mark.parametrize("capacity", CAPACITIES)
def test_the_regression_alone_is_better_than_the_logit_lens(capacity):
    lens, found = (
        run(tiny_llama(), 1, capacity, Settings(start=start, objective="none", dtype="float32"))
        for start in ("logit_lens", "regression")
    )
    assert found[1]["steps"] == 0
    assert len(found[2]) == 1
    assert found[1]["validation_kl"] < 0.97 * lens[1]["validation_kl"]
    again = run(tiny_llama(), 1, capacity, Settings(objective="none", dtype="float32", seed=5), online=True)
    if capacity not in ("low_rank_head", "lora"):  # whose random halves the seed decides
        assert again[1]["validation_kl"] == pytest.approx(found[1]["validation_kl"], rel=1e-4)


def test_the_start_is_the_regression_of_the_targets_own_states_whoever_teaches():
    target, teacher = tiny_llama(), tiny_llama(layers=3, seed=5)
    settings = Settings(objective="none", dtype="float32")
    alone = run(target, 1, "head", settings)[0].named_tensors()
    taught = run(target, 1, "head", settings, teacher=teacher)[0].named_tensors()
    for name, tensor in alone.items():
        torch.testing.assert_close(taught[name], tensor)


def test_the_mass_that_the_teachers_top_k_leaves_out_is_reported():
    settings = Settings(start="logit_lens", epochs=4, tokens_per_step=64, learning_rate=FAST, teacher_top_k=5)
    _, summary, _ = run(tiny_llama(), 1, "head", settings)
    assert 0.01 < summary["teacher_mass_left_out"] < 0.9
    assert summary["validation_kl"] < summary["untrained_validation_kl"]
    _, whole, _ = run(tiny_llama(), 1, "head", Settings(epochs=4, tokens_per_step=64, learning_rate=FAST))
    assert "teacher_mass_left_out" not in whole


@pytest.mark.parametrize("capacity", CAPACITIES)
def test_the_last_layers_exit_is_the_target_and_training_cannot_spoil_it(capacity):
    target = tiny_llama()
    settings = Settings(epochs=2, tokens_per_step=64, learning_rate=FAST, dtype="float32")
    _, summary, log = run(target, 3, capacity, settings)
    assert log[0]["validation_kl"] == pytest.approx(0, abs=1e-7)
    assert summary["validation_kl"] <= log[0]["validation_kl"]


@pytest.mark.parametrize("capacity", CAPACITIES)
def test_training_changes_what_is_trained_and_nothing_of_the_target(capacity):
    target = tiny_llama()
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    untrained = untrained_exit(target, 1, capacity, torch.float32, {"low_rank_head": 8, "lora": 4}).named_tensors()
    draft, _, _ = run(target, 1, capacity, Settings(tokens_per_step=64, learning_rate=FAST))
    for name, tensor in draft.named_tensors().items():
        assert not torch.equal(tensor, untrained[name]), name
    for name, tensor in target.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    trained = sum(parameter.numel() for parameter in draft.trained())
    assert trained == sum(tensor.numel() for tensor in draft.named_tensors().values())


def test_several_drafts_in_one_pass_are_each_as_if_trained_alone():
    target = tiny_llama()
    chosen = [(0, "head", 1.0), (2, "head_block", 4.0), (1, "adapter", 1.0), (1, "translator", 2.0)]
    settings = Settings(tokens_per_step=64, learning_rate=FAST, dtype="float32")
    together = run_many(target, chosen, settings)
    for (layer, capacity, T), (draft, _, log) in zip(chosen, together, strict=True):
        alone, _, expected = run(target, layer, capacity, settings, T)
        assert log == expected
        for name, tensor in draft.named_tensors().items():
            assert torch.equal(tensor, alone.named_tensors()[name]), name


@pytest.mark.parametrize("capacity", ["head", "head_block", "lora"])
def test_online_training_has_the_same_loss_curve(capacity):
    settings = Settings(tokens_per_step=64, learning_rate=FAST, dtype="float32")
    target = tiny_llama()
    _, _, offline = run(target, 2, capacity, settings)
    _, _, online = run(target, 2, capacity, settings, online=True)
    for ours, theirs in zip(online, offline, strict=True):
        assert without_none(ours) == pytest.approx(without_none(theirs), rel=1e-4)


@pytest.mark.parametrize("online", [False, True])
def test_another_teacher_is_what_is_learnt(online):
    target, teacher = tiny_llama(), tiny_llama(seed=5, layers=3, kv_heads=3)
    settings = Settings(epochs=8, tokens_per_step=64, learning_rate=FAST, dtype="float32")
    _, summary, log = run(target, 3, "head_block", settings, teacher=teacher, online=online)
    assert log[0]["validation_kl"] > 0.1
    assert summary["validation_kl"] < 0.95 * log[0]["validation_kl"]


def test_parts_of_a_step_are_the_step():
    target = tiny_llama()
    made = [
        run(
            target,
            1,
            "head_block",
            Settings(tokens_per_step=64, learning_rate=FAST, gradient_accumulation=parts, dtype="float32"),
        )
        for parts in (1, 3)
    ]
    for ours, theirs in zip(made[0][2], made[1][2], strict=True):
        assert without_none(ours) == pytest.approx(without_none(theirs), rel=1e-4)


def test_the_seed_decides_everything():
    target = tiny_llama()
    tensors = [
        run(target, 1, "head_block", Settings(epochs=1, tokens_per_step=64, seed=seed))[0].named_tensors()
        for seed in (1, 1, 2)
    ]
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])
    assert not torch.equal(tensors[0]["head.weight"], tensors[2]["head.weight"])


def test_a_high_temperature_is_learnt_at_that_temperature():
    target = tiny_llama()
    settings = Settings(start="logit_lens", epochs=8, tokens_per_step=64, learning_rate=FAST)
    _, summary, log = run(target, 1, "head_block", settings, temperature=4.0)
    assert summary["validation_kl"] < 0.75 * log[0]["validation_kl"]


@pytest.mark.parametrize("rate", [1e2, 1e30])  # far from the target; not numbers any more
def test_divergence_stops_with_a_clear_error(rate):
    target = tiny_llama()
    settings = Settings(epochs=4, tokens_per_step=64, learning_rate=dict.fromkeys(FAST, rate))
    with pytest.raises(StudyError, match=r"(diverged at step|loss is nan at step) .*lower training.learning_rate"):
        run(target, 1, "head_block", settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "mse"}, 'training.objective: "mse" is not known'),
        ({"epoch": 2}, "training.epoch: unknown key"),
        ({"epochs": 0}, "training.epochs: 0"),
        ({"epochs": "two"}, 'training.epochs: "two"'),
        ({"gradient_clip": 0}, "training.gradient_clip: 0"),
        ({"objective": "kl_ce"}, "training.ce_weight: 0"),
        ({"learning_rate": {"body": 1.0}}, "training.learning_rate.body: unknown key; known are norm, "),
        ({"ranks": {"lora": 0}}, "training.ranks.lora: 0"),
        ({"mode": "both"}, 'training.mode: "both"'),
        ({"gradient_accumulation": 0}, "training.gradient_accumulation: 0"),
        ({"objective": "reverse_kl", "teacher_top_k": 9}, "does not go with objective reverse_kl"),
        (
            {"learning_rate": {"norm": 1.0, "head": float("nan"), "block": 1.0}},
            "training.learning_rate.head: NaN is not a number",
        ),
        ({"dtype": "float8"}, 'training.dtype: "float8"'),
    ],
)
def test_bad_settings_name_their_key(settings, message):
    with pytest.raises(StudyError, match=message):
        Settings.from_dict(settings)
    with pytest.raises(StudyError, match="T: 0"):
        Settings().objective_at(0)


def test_the_learning_rate_warms_up_and_decays():
    factors = [learning_rate_factor(step, 100, 10) for step in range(100)]
    assert factors[:10] == sorted(factors[:10])
    assert factors[10] == 1
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[-1] < 0.01


@pytest.mark.parametrize("capacity", CAPACITIES)
def test_a_checkpoint_drafts_as_the_draft_that_was_trained(capacity, tmp_path):
    target = tiny_llama()
    draft, _, _ = run(target, 1, capacity, Settings(tokens_per_step=64, learning_rate=FAST, dtype="float32"))
    save_exit(draft, tmp_path, torch.float32)
    config = {"drafter": "early_exit", "layer": 1, "T": 1.0, "capacity": capacity, "objective": "kl"}
    config |= {"seed": 0, "dataset": "x", "target": target_identity(target)}
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded, _ = load_exit(tmp_path, target)
    states = captured(target, text_of(7), [draft.depth])
    hidden = states.by_depth[draft.depth][None, :9]
    step = target.step([0], 9)
    torch.testing.assert_close(loaded.logits(hidden, step), draft.logits(hidden, step), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("capacity", "name", "shape"),
    [
        ("translator", "translator.weight", (3, 3)),
        ("low_rank_head", "low_rank_head.up.weight", (5, 8)),
        ("head", "head.weight", (5, 32)),
        ("adapter", "adapter.self_attn.q_proj.weight", (32, 5)),
        ("lora", "lora.0.down.B", (5, 4)),
    ],
)
def test_a_checkpoint_of_another_shape_is_refused(capacity, name, shape, tmp_path):
    from safetensors.torch import load_file, save_file

    target = tiny_llama()
    save_exit(untrained_exit(target, 1, capacity, torch.float32, {"low_rank_head": 8, "lora": 4}), tmp_path)
    config = {"drafter": "early_exit", "layer": 1, "T": 1.0, "capacity": capacity, "objective": "kl"}
    config |= {"seed": 0, "dataset": "x", "target": target_identity(target)}
    (tmp_path / "config.json").write_text(json.dumps(config))
    tensors = load_file(tmp_path / "draft.safetensors")
    save_file(tensors | {name: torch.zeros(shape)}, tmp_path / "draft.safetensors")
    with pytest.raises(StudyError, match=r"draft.safetensors: .*" + name.rsplit(".", 1)[0].replace("adapter.", "")):
        load_exit(tmp_path, target)
    del tensors[name]
    save_file(tensors, tmp_path / "draft.safetensors")
    with pytest.raises(StudyError, match="is missing"):
        load_exit(tmp_path, target)


def test_checkpoints_come_back_and_belong_to_their_target(tmp_path):
    target = tiny_llama()
    draft = untrained_exit(target, 2, "head_block", torch.float32)
    save_exit(draft, tmp_path, torch.float32)
    config = {"drafter": "early_exit", "layer": 2, "T": 1.0, "capacity": "head_block", "objective": "kl"}
    config |= {"seed": 0, "dataset": "x", "target": target_identity(target)}
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded, _ = load_exit(tmp_path, target)
    for name, tensor in loaded.named_tensors().items():
        assert torch.equal(tensor, draft.named_tensors()[name])
    with pytest.raises(StudyError, match="trained on another target: its vocab_size is 61, this target's is 70"):
        load_exit(tmp_path, tiny_llama(vocab=70))
    with pytest.raises(StudyError, match="trained on another target: its fingerprint"):
        load_exit(tmp_path, tiny_llama(seed=9))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(StudyError, match="drafter: missing"):
        load_exit(tmp_path, target)


@pytest.mark.parametrize("capacity", ["head", "low_rank_head", "translator", "head_block"])
def test_a_loss_over_all_words_is_the_loss(capacity):
    target = tiny_llama()
    settings = Settings(epochs=2, tokens_per_step=64, learning_rate=FAST, dtype="float32")
    whole, summary, log = run(target, 1, capacity, settings)
    draft, again, found = run(target, 1, capacity, settings, words=torch.arange(target.config.vocab_size))
    assert again["teacher_mass_left_out"] == pytest.approx(0, abs=1e-6)
    assert again["validation_kl"] == pytest.approx(summary["validation_kl"], rel=1e-5)
    for ours, theirs in zip(found, log, strict=True):
        assert without_none(ours) == pytest.approx(without_none(theirs), rel=1e-4)
    for name, tensor in draft.named_tensors().items():
        torch.testing.assert_close(tensor, whole.named_tensors()[name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("capacity", ["head", "low_rank_head", "translator", "head_block"])
def test_a_loss_over_frequent_words_trains_their_rows_alone(capacity):
    target, words = tiny_llama(), torch.arange(3, 40)
    settings = Settings(epochs=4, tokens_per_step=64, learning_rate=FAST, dtype="float32")
    start, _, _ = run(target, 1, capacity, dataclasses.replace(settings, objective="none"))
    draft, summary, log = run(target, 1, capacity, settings, words=words)
    assert summary["validation_kl"] < 0.98 * log[0]["validation_kl"]
    assert 0 < summary["teacher_mass_left_out"] < 1
    trained, before = (each.named_tensors() for each in (draft, start))
    heads = [name for name, tensor in trained.items() if len(tensor) == target.config.vocab_size]
    assert bool(heads) == (capacity != "translator")
    for name in heads:
        changed = (trained[name] != before[name]).any(dim=1).nonzero().flatten()
        assert changed.tolist() == words.tolist()


def test_a_run_over_frequent_words_goes_on_as_if_never_stopped(tmp_path):
    target, words = tiny_llama(), torch.arange(3, 40)
    settings = Settings(tokens_per_step=64, learning_rate=FAST, dtype="float32")
    whole, _, log = run(target, 1, "head", settings, words=words)
    state = tmp_path / "state.safetensors"

    class AtOnce:
        def is_set(self):
            return True

    with pytest.raises(Stopped):
        run(target, 1, "head", settings, words=words, saving=Saving(state, {}), stop=AtOnce())
    draft, _, again = run(target, 1, "head", settings, words=words, saving=Saving(state, {}))
    assert again == log
    for name, tensor in draft.named_tensors().items():
        assert torch.equal(tensor, whole.named_tensors()[name]), name
