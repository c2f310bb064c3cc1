"""`generate --checkpoint NAME` finds a drafter that is shipped for the target, and lists what there is otherwise."""

import json

import pytest
import torch
from tiny import tiny_target
from tiny_llama import moved_eagle3

from selfdraft.cli import main
from selfdraft.commands import shipped
from selfdraft.commands.shipped import ROOT, checkpoint_folder
from selfdraft.decoding.loop import speculate, vanilla
from selfdraft.decoding.policy import Policy
from selfdraft.drafters.eagle3 import Eagle3Drafter
from selfdraft.files import sha256_of
from selfdraft.models.compact import save_compact
from selfdraft.models.eagle3 import load_eagle3
from selfdraft.models.exit import target_identity
from selfdraft.models.llama import load_target
from selfdraft.sequences import read_prompts


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
    assert "[eagle3, gamma 4]" in capsys.readouterr().out
    assert main([*words, "--checkpoint", "eagle5"]) == 2
    error = capsys.readouterr().err
    assert "error: --checkpoint: eagle5: no such folder, and no drafter of that name; those shipped for tiny" in error


def test_they_lie_at_the_root_of_the_checkout():
    assert (ROOT.parent / "pyproject.toml").is_file()
    assert ROOT.name == "drafters"


CHECKOUT = ROOT.parent
SHIPPED = sorted(path.parent for path in ROOT.glob("*/*/config.json"))


@pytest.mark.parametrize("folder", SHIPPED, ids=[path.name for path in SHIPPED])
def test_what_is_shipped_is_whole_small_and_says_what_it_is(folder):
    sums = json.loads((folder / "sha256.json").read_text())
    assert set(sums) == {"draft.safetensors", "config.json", "README.md"}
    assert all(sha256_of(folder / name) == expected for name, expected in sums.items())
    assert sum(path.stat().st_size for path in folder.iterdir()) < 12e6
    config = json.loads((folder / "config.json").read_text())
    assert (config["kind"], config["weights"]) == ("eagle3", "int8 rows")
    assert "apache-2.0" in (folder / "README.md").read_text()


def test_the_default_targets_drafter_is_loaded_accepted_and_exact():
    target_folder, data = CHECKOUT / "results/target/SmolLM2-135M-Instruct", CHECKOUT / "results/data/sharegpt"
    if not (target_folder / "model.safetensors").is_file() or not (data / "prompts.json").is_file():
        pytest.skip("the default target and data are not there; `make assets` fetches them")
    target = load_target(target_folder, torch.float32)
    draft, _ = load_eagle3(checkpoint_folder("eagle3", target_folder), target)
    drafter = Eagle3Drafter(target, draft)
    prompts = [list(prompt.tokens) for prompt in read_prompts(data)[:4]]
    greedy, generator = Policy("greedy"), torch.Generator()
    found = speculate(target, drafter, prompts, greedy, 3, 24, generator)
    assert found.tokens == vanilla(target, prompts, greedy, 24, generator).tokens
    whole = [cycle.accepted for cycle in found.cycles if not cycle.cut]
    assert sum(whole) / len(whole) > 0.15
