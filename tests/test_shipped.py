"""`generate --checkpoint NAME` finds a drafter that is shipped for the target, and lists what there is otherwise."""

import json

import pytest
import torch
from tiny import tiny_target
from tiny_llama import moved_eagle3

from selfdraft.cli import main
from selfdraft.commands import shipped
from selfdraft.commands.shipped import ROOT, checkpoint_folder
from selfdraft.models.compact import save_compact
from selfdraft.models.exit import target_identity
from selfdraft.models.llama import load_target


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A target that is called tiny in a folder that is not, a drafter shipped for it, and one for another target."""
    folder = tmp_path_factory.mktemp("shipped")
    tiny_target(folder / "models/mine")
    (folder / "models/mine/source.json").write_text(json.dumps({"kind": "path", "name": "tiny"}))
    target = load_target(folder / "models/mine", torch.float32)
    config = {"kind": "eagle3", "features": [1, 2], "fc_norm": False, "norm_output": False}
    draft = moved_eagle3(target, (1, 2), torch.arange(0, 200, 4))
    for place in ("tiny/eagle3", "tiny/wide", "other/eagle4"):
        (folder / "drafters" / place).mkdir(parents=True)
        save_compact(draft.named_tensors(), config | {"target": target_identity(target)}, folder / "drafters" / place)
    return folder


def test_a_name_is_looked_up_for_the_target_where_there_is_no_such_folder(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    target = root / "models/mine"
    found = checkpoint_folder("eagle3", target, root / "drafters")
    assert found == str(root / "drafters/tiny/eagle3")
    (tmp_path / "eagle3").mkdir()
    assert checkpoint_folder("eagle3", target, root / "drafters") == "eagle3"


@pytest.mark.parametrize(
    ("given", "where", "told"),
    [
        ("eagle4", "drafters", "those shipped for tiny are eagle3, wide"),
        ("../other/eagle4", "drafters", "those shipped for tiny are eagle3, wide"),
        ("results/checkpoints/layer6", "nothing", "none is shipped for tiny"),
    ],
)
def test_what_is_neither_is_one_line_that_lists_what_there_is(root, given, where, told):
    with pytest.raises(Exception, match="no such folder") as error:
        checkpoint_folder(given, root / "models/mine", root / where)
    assert str(error.value) == f"--checkpoint: {given}: no such folder, and no drafter of that name; {told}"


def test_generate_drafts_with_it(root, monkeypatch, capsys):
    monkeypatch.setattr(shipped.checkpoint_folder, "__defaults__", (root / "drafters",))
    words = ["generate", "--target", str(root / "models/mine"), "--prompt", "How?", "--max-new-tokens", "4"]
    assert main([*words, "--checkpoint", "eagle3"]) == 0
    assert "[eagle3 eagle3, gamma 4]" in capsys.readouterr().out
    assert main([*words, "--checkpoint", "eagle5"]) == 2
    error = capsys.readouterr().err
    assert "error: --checkpoint: eagle5: no such folder, and no drafter of that name; those shipped for tiny" in error


def test_they_lie_at_the_root_of_the_checkout():
    assert (ROOT.parent / "pyproject.toml").is_file()
    assert ROOT.name == "drafters"
