"""The capture keeps states by model, format and text, reuses and extends them, and refuses what is not theirs."""

import shutil
from types import SimpleNamespace

import pytest
import torch
from tiny_llama import hidden_states, tiny_llama
from training.texts import text_of

import selfdraft.training.capture as module
from selfdraft.errors import StudyError
from selfdraft.training.capture import capture, read_states


@pytest.fixture
def passes(monkeypatch):
    """The depths of every pass that is run."""
    seen = []
    real = module.passes

    def noted(target, sequences, depths, label=""):
        seen.append(sorted(depths))
        return real(target, sequences, depths, label)

    monkeypatch.setattr(module, "passes", noted)
    return seen


def test_captured_states_are_refused_for_another_target_or_text(tmp_path):
    target, sequences = tiny_llama(), text_of(0)
    capture(target, {"train": sequences}, [2], tmp_path / "states")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["states"]
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


def test_what_is_kept_is_not_computed_again_and_only_missing_depths_are(tmp_path, passes, capsys):
    target, splits = tiny_llama(), {"train": text_of(0), "validation": text_of(1)}
    capture(target, splits, [1], tmp_path / "first", tmp_path / "cache")
    assert passes == [[1, 4], [1, 4]]
    capture(target, splits, [1], tmp_path / "second", tmp_path / "cache")
    assert len(passes) == 2
    assert "0 depths to compute (0 GB), 2 kept from before" in capsys.readouterr().err
    capture(target, splits, [1, 3], tmp_path / "third", tmp_path / "cache")
    assert passes[2:] == [[3], [3]]
    for split, sequences in splits.items():
        for depth in (1, 3, 4):
            states = read_states(tmp_path / "third", depth, split, target, sequences)
            assert torch.equal(states, hidden_states(target, sequences, [depth])[depth])


def test_the_results_folder_may_be_deleted_without_the_cache(tmp_path, passes):
    target, splits = tiny_llama(), {"train": text_of(0)}
    capture(target, splits, [1], tmp_path / "states", tmp_path / "cache")
    shutil.rmtree(tmp_path / "states")
    capture(target, splits, [1], tmp_path / "states", tmp_path / "cache")
    assert len(passes) == 1
    read_states(tmp_path / "states", 1, "train", target, splits["train"])


def test_another_model_text_or_format_has_states_of_its_own(tmp_path, passes):
    target, splits = tiny_llama(), {"train": text_of(0)}
    runs = [
        (target, splits),
        (tiny_llama(seed=3), splits),
        (target, {"train": text_of(1)}),
        (tiny_llama().to(torch.bfloat16), splits),
    ]
    for number, (model, texts) in enumerate(runs):
        capture(model, texts, [1], tmp_path / str(number), tmp_path / "cache")
        assert len(passes) == number + 1
        states = read_states(tmp_path / str(number), 1, "train", model, texts["train"])
        assert torch.equal(states.float(), hidden_states(model, texts["train"], [1])[1])


def test_a_file_that_was_cut_is_made_again(tmp_path, passes):
    target, splits = tiny_llama(), {"train": text_of(0)}
    capture(target, splits, [1], tmp_path / "states", tmp_path / "cache")
    (cut,) = (tmp_path / "cache").glob("*/depth1.safetensors")
    whole = cut.read_bytes()
    cut.unlink()
    cut.write_bytes(whole[:-10])
    capture(target, splits, [1], tmp_path / "states", tmp_path / "cache")
    assert passes[1:] == [[1]]
    assert cut.read_bytes() == whole


def test_a_disk_without_room_is_told_before_anything_is_computed(tmp_path, passes, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(StudyError, match=r"need 4\.75e-05 GB, 1e-06 GB are free; make room, .*mode online"):
        capture(tiny_llama(), {"train": text_of(0)}, [1], tmp_path / "states", tmp_path / "cache")
    assert passes == []
    assert not (tmp_path / "states").exists()


def test_another_teachers_final_states_are_kept_beside_and_belong_to_it(tmp_path):
    target, teacher, text = tiny_llama(), tiny_llama(seed=5, layers=3, kv_heads=3), text_of(0)
    capture(target, {"train": text}, [1], tmp_path / "states", tmp_path / "cache", teacher)
    final = read_states(tmp_path / "states", 0, "train", target, text, teacher)
    assert torch.equal(final, _wide_states(teacher, text))
    with pytest.raises(StudyError, match="captured from another teacher"):
        read_states(tmp_path / "states", 0, "train", target, text, tiny_llama(seed=6))


def _wide_states(teacher, text):
    return hidden_states(teacher, text, [3])[3]
