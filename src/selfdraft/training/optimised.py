"""Parameters while they are trained: their optimiser, their best tensors so far, their log."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from selfdraft.training.losses import keep_for_next_step


def learning_rate_factor(step: int, steps: int, warmup: int) -> float:
    """Linear warm-up over `warmup` steps, then cosine decay to zero after `steps`. Steps count from 0."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


class Optimised:
    """AdamW on some parameters; `best_tensors` are those that `keep` was last called for.

    `log` takes one JSON line a step. `numbers` names what a saved state holds of it beside tensors and lines.
    """

    numbers: ClassVar[Sequence[str]] = ()

    def __init__(
        self,
        groups: Mapping[str, tuple[list[nn.Parameter], float]],
        weight_decay: float,
        clip: float,
        log: Callable[[str], object],
        apart: Sequence[str] = (),
    ) -> None:
        """`groups` are the parameters of each part, and its peak learning rate. Each part of `apart` has a gradient
        whose norm is clipped for itself, so that the others learn as without it."""
        self.parts, self.clip = list(groups), clip
        self.parameters = [parameter for parameters, _ in groups.values() for parameter in parameters]
        for parameter in self.parameters:
            parameter.requires_grad_(True)
        together = [parameter for part in self.parts if part not in apart for parameter in groups[part][0]]
        self._clipped = [together, *(groups[part][0] for part in self.parts if part in apart)]
        self.optimiser = torch.optim.AdamW(
            [{"params": parameters, "lr": rate, "base": rate} for parameters, rate in groups.values()],
            betas=(0.9, 0.95),
            weight_decay=weight_decay,
            fused=True,
        )
        self.lines: list[str] = []
        self._log = log
        self.best_step = 0
        self.seconds = 0.0  # of training, all its interrupted parts together
        self.best_tensors: list[Tensor] = []

    def spend(self, since: float) -> float:
        """Count the time since a reading of `time.perf_counter` as training; returns the clock's reading now."""
        now = time.perf_counter()
        self.seconds += now - since
        return now

    def update(self, factor: float) -> tuple[dict[str, float], float]:
        """One step of the optimiser at the learning rates times `factor`.

        Returns the rate of each part, and the norm of the gradient (of what is not apart) before it was clipped.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = group["base"] * factor
        norm, *_ = [float(torch.nn.utils.clip_grad_norm_(some, self.clip)) for some in self._clipped]
        self.optimiser.step()
        for parameter in self.parameters:
            keep_for_next_step(parameter)
        return {part: group["lr"] for part, group in zip(self.parts, self.optimiser.param_groups, strict=True)}, norm

    def write(self, row: dict[str, Any]) -> None:
        """One line of the log; nothing in it depends on the machine's speed."""
        self.resume_log([json.dumps(row)])

    def resume_log(self, lines: list[str]) -> None:
        """Lines as they were written before."""
        for line in lines:
            self.lines.append(line)
            self._log(line)

    def keep(self, step: int) -> None:
        """The tensors as they are after this step are the best so far."""
        self.best_step = step
        self.best_tensors = [parameter.detach().clone() for parameter in self.parameters]

    def finish(self) -> None:
        """Leave the parameters at their best, and no longer to be trained."""
        for parameter, kept in zip(self.parameters, self.best_tensors, strict=True):
            parameter.data.copy_(kept)
            parameter.requires_grad_(False)
