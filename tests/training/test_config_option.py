"""`selfdraft train --config` reads the training sections of config files; options go over them."""

import pytest

from selfdraft.cli import main
from selfdraft.commands.train import merged, training_section
from selfdraft.errors import StudyError


@pytest.fixture
def files(tmp_path):
    texts = {
        "study.yaml": "training: {epochs: 1, seed: 3, learning_rate: {norm: 0.05, head: 0.002}}\nother: {a: 1}\n",
        "mine.yaml": "training: {epochs: 4, learning_rate: {head: 0.001}}\n",
        "empty.yaml": "data: {}\n",
        "wrong.yaml": "training: {epoch: 4}\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_later_files_and_settings_go_over_earlier_ones_key_by_key(files):
    section = training_section([str(files / "study.yaml"), str(files / "mine.yaml")])
    assert section == {"epochs": 4, "seed": 3, "learning_rate": {"norm": 0.05, "head": 0.001}}
    assert merged(section, {"learning_rate": {"norm": 1.0}})["learning_rate"] == {"norm": 1.0, "head": 0.001}
    assert training_section([]) == {}


@pytest.mark.parametrize(("name", "message"), [("empty.yaml", "has no section"), ("no.yaml", "file not found")])
def test_a_file_without_the_section_is_told(files, name, message):
    with pytest.raises(StudyError, match=message):
        training_section([str(files / name)])


def test_an_unknown_key_is_told_by_the_command(files, capsys):
    words = ["train", "--config", str(files / "wrong.yaml"), "--target", "t", "--data", "d", "--out-dir", "o"]
    assert main([*words, "--layer", "1", "--T", "1", "--capacity", "head"]) == 2
    assert "training.epoch: unknown key" in capsys.readouterr().err
