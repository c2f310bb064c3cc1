"""A stream served in a process that kills itself at a chosen moment; nothing of it is left but what it has saved."""

import json
import os
import signal
from types import SimpleNamespace

import torch
from online.learning import learner_on
from safetensors.torch import save_file
from tiny_llama import tiny_llama

from selfdraft.online.run import OnlineRun
from selfdraft.training import saved
from selfdraft.training.saved import Saving

PROMPTS = [[3, 1, 4, 1, 5], [9, 2], [6, 5, 3, 5, 8, 9, 7]] * 2
COMMON = {"fast_batch": 1, "draft": "sample", "max_new_tokens": 8, "learning_rate": 0.01, "evaluate_every": 2}
SHARES = {
    "head": {"capacity": "translator", "layer": 2},
    "split": {"capacity": "lora", "layer": 2, "share": "split", "amount": 0.1},
    "shared": {"capacity": "lora", "layer": 1, "share": "shared", "amount": 0.05, "slow_every": 2}
    | {"slow_learning_rate": 0.01},
}


def die(*given, **named):
    os.kill(os.getpid(), signal.SIGKILL)


def nth(count, function, then=die):
    """`function`, and in place of its call number `count` `then`."""
    left = iter(range(count, 0, -1))

    def counted(*given, **named):
        return then(*given, **named) if next(left, 0) == 1 else function(*given, **named)

    return counted


def half_written(tensors, path, metadata=None):
    """A save that ends in the middle of the file."""
    save_file(tensors, path, metadata=metadata)
    with open(path, "r+b") as file:
        file.truncate(os.path.getsize(path) // 2)
    die()


def serve(share, folder, moment, count):
    """Serve the stream from where the state in `folder` has it; killed at the `count`th `moment`, or at none."""
    torch.set_num_threads(1)
    learner = learner_on(tiny_llama(), **COMMON | SHARES[share])[0]
    if moment == "half a file":
        saved.save_file = nth(count, saved.save_file, half_written)
    elif moment == "before a state is in its place":
        saved.os = SimpleNamespace(fsync=nth(count, os.fsync))
    elif moment == "update":
        learner._update = nth(count, learner._update)
    elif moment == "put to use":
        learner.pair.publish = nth(count, learner.pair.publish)
    OnlineRun(learner, PROMPTS, frozenset(), dict).go(Saving(folder / "state.safetensors", {"share": share}, steps=1))
    tensors = {str(place): tensor.detach() for place, tensor in enumerate(learner.parameters)}
    tensors |= {f"target.{name}": tensor.contiguous().clone() for name, tensor in learner.target.named_parameters()}
    tensors |= learner.buffer.tensors()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "end.safetensors")
    numbers = [learner.updates, learner.served, learner.baseline, learner.gradients, learner.texts]
    rows = [{key: value for key, value in json.loads(line).items() if not key.endswith("_s")} for line in learner.lines]
    (folder / "end.json").write_text(json.dumps([*numbers, rows]))
