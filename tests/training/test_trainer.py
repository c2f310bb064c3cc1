"""Training lowers the held-out KL, is seeded, keeps the best tensors, and stops when it diverges."""

import json

import numpy as np
import pytest
import torch
from tiny_llama import hidden_states, tiny_llama

from selfdraft.errors import StudyError
from selfdraft.models.exit import load_exit, save_exit, target_identity, untrained_exit
from selfdraft.sequences import Sequences
from selfdraft.training.batches import batches
from selfdraft.training.capture import capture, read_states
from selfdraft.training.trainer import Settings, Text, learning_rate_factor, train

FAST = {"norm": 1e-2, "head": 1e-2, "block": 3e-3}


def text_of(seed, count=12, vocab=61):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 30, count)
    total = int(lengths.sum())
    mask = (rng.random(total) < 0.7).astype(np.uint8)
    tokens = rng.integers(0, vocab, total).astype(np.int32)
    return Sequences(tokens, mask, np.concatenate(([0], lengths.cumsum())).astype(np.int64))


def texts(target, depth, seeds=(0, 1), count=12):
    made = []
    for seed in seeds:
        sequences = text_of(seed, count)
        states = hidden_states(target, sequences, [depth, target.config.n_layers])
        made.append(Text(sequences, states[depth], states[target.config.n_layers]))
    return made


def run(target, layer, capacity, settings, temperature=1.0):
    draft = untrained_exit(target, layer, capacity, torch.float32)
    lines = []
    learn, check = texts(target, draft.depth, count=40)
    summary = train(target, draft, learn, check, temperature, settings, lines.append)
    return draft, summary, [json.loads(line) for line in lines]


def test_batches_hold_every_answer_token_once_with_its_label():
    sequences = text_of(3)
    seen = []
    for batch in batches(sequences, 20, order=list(reversed(range(12)))):
        places = batch.index.flatten()[batch.positions]
        assert torch.equal(batch.labels, torch.from_numpy(sequences.tokens[places + 1].astype(np.int64)))
        seen += places.tolist()
    starts = set(sequences.offsets.tolist())
    expected = [t - 1 for t in np.flatnonzero(sequences.mask) if t not in starts]
    assert sorted(seen) == expected


def test_all_tokens_masked_is_an_error():
    sequences = text_of(3)
    sequences.mask[:] = 0
    with pytest.raises(StudyError, match="every token is masked"):
        batches(sequences, 20)


@pytest.mark.parametrize("capacity", ["head", "head_block"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_training_lowers_the_held_out_kl(capacity, dtype):
    target = tiny_llama()
    settings = Settings(epochs=8, tokens_per_step=64, learning_rate=FAST, dtype=dtype)
    _draft, summary, log = run(target, 1, capacity, settings)
    assert log[0]["step"] == 0
    assert summary["untrained_held_out_kl"] == log[0]["held_out_kl"]
    assert summary["held_out_kl"] < 0.75 * log[0]["held_out_kl"]
    assert summary["held_out_kl"] == min(row["held_out_kl"] for row in log if row["held_out_kl"] is not None)
    assert log[-1]["step"] == summary["steps"] == len(log) - 1


@pytest.mark.parametrize("capacity", ["head", "head_block"])
def test_the_last_layers_exit_is_the_target_and_training_cannot_spoil_it(capacity):
    target = tiny_llama()
    settings = Settings(epochs=2, tokens_per_step=64, learning_rate=FAST, dtype="float32")
    _, summary, log = run(target, 3, capacity, settings)
    assert log[0]["held_out_kl"] == pytest.approx(0, abs=1e-7)
    assert summary["held_out_kl"] <= log[0]["held_out_kl"]


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
    settings = Settings(epochs=8, tokens_per_step=64, learning_rate=FAST)
    _, summary, log = run(target, 1, "head_block", settings, temperature=4.0)
    assert summary["held_out_kl"] < 0.75 * log[0]["held_out_kl"]


@pytest.mark.parametrize("rate", [1e4, 1e30])
def test_divergence_stops_with_a_clear_error(rate):
    target = tiny_llama()
    settings = Settings(epochs=4, tokens_per_step=64, learning_rate=dict.fromkeys(FAST, rate))
    with pytest.raises(StudyError, match=r"(diverged at step|loss is nan at step) .*lower training.learning_rate"):
        run(target, 1, "head_block", settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "mse"}, "training.objective: 'mse' is unknown"),
        ({"epoch": 2}, "training.epoch: unknown key"),
        ({"epochs": 0}, "training.epochs: 0"),
        ({"epochs": "two"}, "training.epochs: 'two'"),
        ({"gradient_clip": 0}, "training.gradient_clip: 0"),
        ({"objective": "kl_ce"}, "training.ce_weight: 0"),
        ({"learning_rate": {"norm": 1.0}}, "training.learning_rate: found"),
        ({"learning_rate": {"norm": 1.0, "head": float("nan"), "block": 1.0}}, "training.learning_rate.head: nan"),
        ({"dtype": "float8"}, "training.dtype: 'float8'"),
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


def test_captured_states_are_refused_for_another_target_or_text(tmp_path):
    target, sequences = tiny_llama(), text_of(0)
    capture(target, {"train": sequences}, [2], tmp_path / "states")
    states = read_states(tmp_path / "states", 2, "train", target, sequences)
    assert torch.equal(states, hidden_states(target, sequences, [2])[2])
    with pytest.raises(StudyError, match="captured from another target"):
        read_states(tmp_path / "states", 2, "train", tiny_llama(seed=5), sequences)
    with pytest.raises(StudyError, match="capture again"):
        read_states(tmp_path / "states", 2, "train", target, text_of(9))
    with pytest.raises(StudyError, match=r"depth1\.safetensors: file not found"):
        read_states(tmp_path / "states", 1, "train", target, sequences)
    path = tmp_path / "states" / "depth2.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(StudyError, match="not a complete safetensors file"):
        read_states(tmp_path / "states", 2, "train", target, sequences)


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
