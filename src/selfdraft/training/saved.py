"""A training run's state on disk: saved whole or not at all, and taken up by the same configuration only."""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from selfdraft.errors import StudyError
from selfdraft.files import remove_abandoned, saving_tensors, whole_file
from selfdraft.training.optimised import Optimised

LARGEST_SHARE = 0.05  # of the time may go into saving by time
MOMENTS = ("exp_avg", "exp_avg_sq")  # of AdamW, which counts the steps of each parameter beside them


@dataclass
class Saving:
    """Where and when the state is saved: every `steps` steps, or after `seconds` (0: not for this reason).

    A large state on a slow disk is saved by time more rarely, so that the rest of the time is trained in.

    `run` is everything that shapes the result, as JSON values; a state of another `run` is refused. `more` are other
    tensors of the run by name: what is in it is saved, and after `take_up` it holds what was saved.
    """

    path: Path
    run: dict[str, Any]
    steps: int = 0
    seconds: float = 0.0
    last: float = field(default_factory=time.monotonic)
    cost: float = 0.0  # seconds of the last save
    more: dict[str, Tensor] = field(default_factory=dict)

    def due(self, step: int) -> bool:
        """Whether the state should be saved after this step."""
        wait = max(self.seconds, self.cost / LARGEST_SHARE)
        by_time = self.seconds > 0 and time.monotonic() - self.last >= wait
        return by_time or (self.steps > 0 and step % self.steps == 0)

    def save(self, learners: Sequence[Optimised], step: int, tokens: int) -> None:
        """Write the state after `step` steps. A kill at any moment leaves the former state or this one."""
        begin = time.monotonic()
        tensors: dict[str, Tensor] = {"random": torch.get_rng_state()}
        tensors |= {f"more.{name}": tensor.cpu().contiguous() for name, tensor in self.more.items()}
        progress: dict[str, Any] = {"step": step, "tokens": tokens, "learners": []}
        for number, learner in enumerate(learners):
            for place, (parameter, best) in enumerate(zip(learner.parameters, learner.best_tensors, strict=True)):
                moments = learner.optimiser.state[parameter]
                named = {"now": parameter, "best": best} | {
                    name: moments[name] for name in (*MOMENTS, "step") if name in moments
                }
                for name, tensor in named.items():
                    tensors[f"{number}.{place}.{name}"] = tensor.detach().cpu().contiguous()
            numbers = {name: getattr(learner, name) for name in learner.numbers}
            progress["learners"].append(numbers | {"lines": learner.lines})
        described = {"run": json.dumps(self.run, sort_keys=True), "progress": json.dumps(progress)}
        with whole_file(self.path) as temporary:
            with saving_tensors(self.path):
                save_file(tensors, temporary, metadata=described)
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
        self.last = time.monotonic()
        self.cost = self.last - begin

    def take_up(self, learners: Sequence[Optimised]) -> tuple[int, int] | None:
        """Put the saved state, if there is one, into the learners; returns its (step, tokens).

        Raises StudyError if it is another configuration's, or damaged.
        """
        remove_abandoned(self.path)
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                described = file.metadata() or {}
                run, progress = json.loads(described["run"]), json.loads(described["progress"])
                if differing := _differences(run, json.loads(json.dumps(self.run))):
                    raise StudyError(
                        f"{self.path}: the state of another configuration ({digest(run)}, this one is "
                        f"{digest(self.run)}): {differing[0]}; go back to that one, or remove the file to train anew"
                    )
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        except (SafetensorError, KeyError, ValueError) as error:
            raise StudyError(f"{self.path}: not a training state ({error}); remove it to train anew") from None
        step = progress["step"]
        for number, (learner, saved) in enumerate(zip(learners, progress["learners"], strict=True)):
            learner.best_tensors = []
            for place, parameter in enumerate(learner.parameters):
                state = {name: tensors[f"{number}.{place}.{name}"].to(parameter.device) for name in ("now", "best")}
                parameter.data.copy_(state["now"])
                learner.best_tensors.append(state["best"].clone())
                if f"{number}.{place}.{MOMENTS[0]}" in tensors:
                    count = tensors.get(f"{number}.{place}.step", torch.tensor(float(step)))
                    moments: dict[str, Tensor] = {"step": count.to(parameter.device)}
                    for name in MOMENTS:
                        moments[name] = torch.empty_like(parameter).copy_(tensors[f"{number}.{place}.{name}"])
                    learner.optimiser.state[parameter] = moments
            for name in learner.numbers:
                setattr(learner, name, saved.get(name, getattr(learner, name)))  # a state of before may lack one
            learner.resume_log(saved["lines"])
        torch.set_rng_state(tensors["random"])
        self.more = {name.removeprefix("more."): found for name, found in tensors.items() if name.startswith("more.")}
        return step, progress["tokens"]

    def remove(self) -> None:
        """The run is complete; its state is of no more use."""
        self.path.unlink(missing_ok=True)


def digest(run: dict[str, Any]) -> str:
    """12 hex digits of a run's configuration."""
    return hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()[:12]


def _differences(saved: Any, wanted: Any, key: str = "") -> list[str]:
    """What two configurations do not share, "key: was A, is B" each."""
    if isinstance(saved, dict) and isinstance(wanted, dict):
        keys = sorted(set(saved) | set(wanted))
        below = (_differences(saved.get(name), wanted.get(name), f"{key}.{name}" if key else name) for name in keys)
        return [difference for found in below for difference in found]
    return [] if saved == wanted else [f"{key} was {json.dumps(saved)}, is {json.dumps(wanted)}"]
