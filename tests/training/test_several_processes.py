"""Two processes with half of each step do what one does: tensors within float32's rounding."""

import json
import signal
import subprocess
import sys

import pytest
from training.runs import ENVIRONMENT, kill, prepare, result, same, stage, tensors, training, wait_for

from selfdraft.cli import main

DRAFTS = ((1, 1.0, "head_block"), (1, 2.0, "translator"), (1, 1.0, "lora"))
SHORT = {"tokens_per_step": 1}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1"]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    prepare(folder)
    stage(*training(folder, "one", drafts=DRAFTS))
    return folder


def launch(launcher, port, words):
    stage = ["-m", "selfdraft", *map(str, words)]
    if launcher == "torchrun":
        command = [*TORCHRUN, "--master-port", str(port), *stage]
    else:  # the stage itself starts `accelerate launch`
        command = [sys.executable, *stage, "--processes", "2"]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, start_new_session=True
    )


def free_port():
    import socket

    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


@pytest.fixture(scope="module")
def offline(study):
    """The drafts of two processes that read captured states, started by the stage itself."""
    return by_two(study, "processes", "offline", online=False)


def by_two(study, launcher, name, online):
    """Online in steps of one sequence, so that one of the processes has none of it."""
    settings = SHORT if online else {}
    process = launch(launcher, free_port(), training(study, name, drafts=DRAFTS, online=online, settings=settings))
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return study / name


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_two_processes_train_what_one_trains(study, offline, mode):
    """Also in steps with fewer sequences than processes."""
    two, one = offline, study / "one"
    if mode == "online":
        two, one = by_two(study, "torchrun", "online", online=True), study / "short"
        stage(*training(study, "short", drafts=DRAFTS, settings=SHORT))
    same(tensors(two), tensors(one), rtol=2e-2, atol=2e-3)  # bfloat16 files: half a unit in the last place
    for name in sorted(path.parent.name for path in two.rglob("config.json")):
        assert json.loads((two / name / "config.json").read_text())["processes"] == 2
        logs = [(folder / name / "train_log.jsonl").read_text().splitlines() for folder in (two, one)]
        for ours, theirs in zip(*logs, strict=True):
            ours, theirs = json.loads(ours), json.loads(theirs)
            assert (ours["step"], ours["tokens"]) == (theirs["step"], theirs["tokens"])
            for value in ("loss", "validation_kl"):
                assert ours[value] == (
                    theirs[value] if theirs[value] is None else pytest.approx(theirs[value], rel=1e-4)
                )


def test_a_number_of_processes_that_cannot_be_is_one_line(study, capsys):
    assert main([*map(str, training(study, "none", "--processes", 0))]) == 2
    assert capsys.readouterr().err == "selfdraft train: error: --processes: 0 is not ≥ 1\n"


def test_several_processes_are_stopped_and_resumed_together(study, offline):
    state = study / "state.safetensors"
    words = training(study, "resumed", "--state", state, "--save-steps", 1, drafts=DRAFTS)
    process = launch("torchrun", free_port(), words)
    assert wait_for(state.exists, process)
    kill(process, signal.SIGKILL)
    process = launch("torchrun", free_port(), words)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert result(study / "resumed") == result(offline)
