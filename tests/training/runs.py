"""`selfdraft train` on a tiny study, as processes that can be killed."""

import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import torch
from safetensors.torch import load_file
from tiny import tiny_conversations, tiny_target
from warm import SELFDRAFT

from selfdraft.cli import dispatch

SETTINGS = {"dtype": "float32", "tokens_per_step": 60, "epochs": 2, "evaluations": 4}
DATA = {
    "english_only": False,
    "held_out_fraction": 0.4,
    "sequence_length": 128,
    "train_tokens": 2500,
    "validation_tokens": 300,
    "held_out_tokens": 300,
    "prompts": 2,
    "prompt_length": [8, 64],
}
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def prepare(folder, data=DATA, **target):
    """A target, its data and its captured states in `folder`."""
    tiny_target(folder / "target", **target)
    source = {"kind": "path", "path": str(tiny_conversations(folder / "conversations.json"))}
    words = ["--name", "tiny", "--source", json.dumps(source), "--settings", json.dumps(data)]
    dispatch_stage(
        "data", *words, "--target", folder / "target", "--out-dir", folder / "data", "--cache-dir", folder / "cache"
    )
    words = ["--target", folder / "target", "--data", folder / "data", "--dtype", "float32"]
    dispatch_stage("capture", *words, "--depths", 0, 1, 2, "--out-dir", folder / "capture")


def dispatch_stage(*words):
    """A stage in this process."""
    dispatch([*map(str, words)])


def stage(*words):
    """A stage in a process of its own, with as many threads as those that are killed."""
    process = start(words)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors


def training(folder, out, *more, drafts=((1, 1.0, "head_block"),), settings=None, online=False):
    """The words of a training run that leaves its checkpoints in `folder / out`."""
    chosen = SETTINGS | (settings or {}) | ({"mode": "online"} if online else {})
    words = ["train", "--target", folder / "target", "--data", folder / "data", "--settings", json.dumps(chosen)]
    words += [] if online else ["--capture", folder / "capture"]
    return [*words, "--drafts", json.dumps(drafts), "--out-dir", folder / out, *more]


def start(words):
    """The stage as a process group of its own."""
    return SELFDRAFT.start(words, OMP_NUM_THREADS="1")


def kill(process, how=signal.SIGKILL):
    with suppress(ProcessLookupError):  # it has ended by itself just now
        os.killpg(process.pid, how)
    return process.communicate(timeout=60)


def wait_for(condition, process, seconds=300):
    """Until the condition holds; False if the process ended before."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        if process.poll() is not None:
            return False
        time.sleep(0.0005)
    raise AssertionError("waited in vain")


def result(folder):
    """All tensors and logs of the checkpoints in a folder, as bytes, by their path."""
    files = sorted(path for path in Path(folder).rglob("*") if path.name in ("draft.safetensors", "train_log.jsonl"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def tensors(folder):
    """All tensors of the checkpoints in a folder, by path and name."""
    return {
        f"{path.parent.name}/{name}": tensor.float()
        for path in sorted(Path(folder).rglob("draft.safetensors"))
        for name, tensor in load_file(path).items()
    }


def same(ours, theirs, rtol, atol):
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=rtol, atol=atol, msg=name)
