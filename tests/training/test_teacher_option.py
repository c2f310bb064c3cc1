"""A teacher needs the target's vocabulary, and `selfdraft train` says what does not fit before it works."""

import json

import pytest
import torch
from tiny import tiny_target
from tiny_llama import tiny_llama
from training.runs import DATA, SETTINGS

from selfdraft.cli import dispatch
from selfdraft.errors import StudyError
from selfdraft.training.states import Loaded
from selfdraft.training.trainer import teachers_part


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A target with its data and states, captured with a larger teacher."""
    from tiny import tiny_conversations

    folder = tmp_path_factory.mktemp("teacher")
    tiny_target(folder / "target")
    tiny_target(folder / "larger", seed=3, hidden_size=96, num_attention_heads=6, num_key_value_heads=2)
    source = {"kind": "path", "path": str(tiny_conversations(folder / "conversations.json"))}
    words = ["--name", "tiny", "--source", json.dumps(source), "--settings", json.dumps(DATA)]
    places = ["--target", str(folder / "target"), "--out-dir", str(folder / "data"), "--cache-dir", str(folder / "c")]
    dispatch(["data", *words, *places])
    dispatch(["capture", *inputs(folder), "--depths", "2", "--dtype", "float32", "--out-dir", str(folder / "capture")])
    return folder


def inputs(folder, teacher="larger"):
    return ["--target", str(folder / "target"), "--data", str(folder / "data"), "--teacher", str(folder / teacher)]


def train(folder, *words, teacher="larger", settings=SETTINGS, out="out"):
    more = ["--settings", json.dumps(settings), "--out-dir", str(folder / out), *words]
    dispatch(["train", *inputs(folder, teacher), "--capture", str(folder / "capture"), *more])


ONE = ("--layer", "1", "--T", "1.0", "--capacity", "translator")


def test_the_draft_learns_from_the_teacher_and_the_checkpoint_says_so(study):
    train(study, *ONE)
    config = json.loads((study / "out/config.json").read_text())
    assert config["teacher"]["hidden_size"] == 96
    assert config["target"]["hidden_size"] == 64
    assert config["summary"]["validation_kl"] < config["summary"]["untrained_validation_kl"]


@pytest.mark.parametrize("rows", [50, 61, 70])
def test_a_teacher_with_other_padding_rows_keeps_its_distribution_over_the_tokens(rows):
    teacher = tiny_llama(vocab=61)
    loaded = Loaded({}, torch.randn(5, teacher.config.hidden_size, generator=torch.Generator().manual_seed(0)))
    hidden, weight = teachers_part(teacher, loaded, torch.float32, rows)
    found, whole = hidden @ weight.T, teacher.logits(loaded.final)
    assert found.shape == (5, rows)
    same = min(rows, 61)
    torch.testing.assert_close(found[:, :same], whole[:, :same], atol=1e-5, rtol=1e-5)
    assert found[:, same:].softmax(-1).numel() == 0 or found.softmax(-1)[:, same:].max() == 0


def test_a_teacher_with_other_tokens_is_refused(study):
    tiny_target(study / "other")
    tokenizer = json.loads((study / "other/tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (study / "other/tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(
        StudyError, match=r"has another vocabulary .*: 'a' is token (\d+) of the target and (?!\1)\d+ there"
    ):
        train(study, *ONE, teacher="other")


def test_states_of_another_teacher_are_refused(study):
    tiny_target(study / "second", seed=8)
    with pytest.raises(StudyError, match="captured from another teacher"):
        train(study, *ONE, teacher="second")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--layer: missing; --layer, --T and --capacity name a draft, --drafts several"),
        (("--layer", "1", "--drafts", '[[1, 1.0, "head"]]'), "--layer: does not go with --drafts"),
        (("--drafts", '[[1, "head"]]'), r"--drafts: found \[1, 'head'\], a list like"),
        (("--drafts", "[]"), "--drafts: at least one draft, and each of them once"),
        (("--drafts", '[[1, 1.0, "head"], [1, 1, "head"]]'), "--drafts: at least one draft, and each of them once"),
        (("--drafts", '[[1, 1.0, "medusa"]]'), "--capacity: 'medusa' is unknown; one of norm, translator"),
        (("--drafts", '[[9, 1.0, "head"]]'), "--layer: layer 9 is not a layer of the target"),
        ((*ONE, "--save-minutes", "-1"), "--save-minutes, --save-steps: a number ≥ 0 is right"),
    ],
)
def test_what_does_not_go_together_is_told(study, words, message):
    with pytest.raises(StudyError, match=message):
        train(study, *words)


def test_offline_training_needs_states(study):
    with pytest.raises(StudyError, match="--capture: missing; mode offline trains on captured states"):
        dispatch(["train", *inputs(study), *ONE, "--out-dir", str(study / "none")])
    assert not (study / "none").exists()
