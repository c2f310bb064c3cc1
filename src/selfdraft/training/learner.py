"""One draft while it is trained: its optimiser, its best tensors so far, its log."""

import json
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from selfdraft.errors import StudyError
from selfdraft.models.exit import Exit
from selfdraft.training.losses import Objective, keep_for_next_step
from selfdraft.training.settings import Settings
from selfdraft.training.words import Rows, Words


def learning_rate_factor(step: int, steps: int, warmup: int) -> float:
    """Linear warm-up over `warmup` steps, then cosine decay to zero after `steps`. Steps count from 0."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


class Learner:
    """AdamW on the trained parameters of `draft`; keeps the tensors of the lowest validation KL seen.

    `log` takes one JSON line a step; the first line is the untrained draft.
    """

    def __init__(
        self,
        draft: Exit,
        temperature: float,
        settings: Settings,
        log: Callable[[str], object],
        words: Words | None = None,
    ) -> None:
        """`words` are those that the loss is over; all without them."""
        self.draft, self.temperature = draft, temperature
        self.objective: Objective = settings.objective_at(temperature)
        self.clip = settings.gradient_clip
        self.rows = None if words is None else Rows(words, draft.head.by_output(), draft.trained())
        self.parameters = self._instead(draft.trained())
        for parameter in self.parameters:
            parameter.requires_grad_(True)
        groups = [
            {"params": self._instead(parameters), "lr": rate, "base": rate}
            for part, parameters in draft.parameter_groups().items()
            for rate in [settings.rate(draft.capacity, part)]
        ]
        self.parts = list(draft.parameter_groups())
        self.optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=settings.weight_decay, fused=True)
        self.lines: list[str] = []
        self._log = log
        self.untrained = self.best = math.inf
        self.best_step = 0
        self.best_tensors: list[Tensor] = []
        self.left_out = 0.0  # the teacher's mass that the loss does not see, mean over the validation text

    def _instead(self, parameters: list[nn.Parameter]) -> list[nn.Parameter]:
        return parameters if self.rows is None else [self.rows.in_place_of(parameter) for parameter in parameters]

    def begin(self, validation_kl: float, left_out: float) -> None:
        """Note the untrained draft."""
        if self.rows is not None:
            self.rows.take()
        self.untrained = self.best = validation_kl
        self.left_out = left_out
        self.best_tensors = self.copies()
        nothing = dict.fromkeys(self.parts, 0.0)
        row = {"step": 0, "tokens": 0, "loss": None, "lr": 0.0, "rates": nothing, "grad_norm": None}
        self.write(row | {"validation_kl": validation_kl})

    def update(self, factor: float) -> tuple[dict[str, float], float]:
        """One step of the optimiser at the learning rates times `factor`.

        Returns the rate of each part, and the norm of the gradient before it was clipped.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = group["base"] * factor
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, self.clip))
        self.optimiser.step()
        for parameter in self.parameters:
            keep_for_next_step(parameter)
        return {part: group["lr"] for part, group in zip(self.parts, self.optimiser.param_groups, strict=True)}, norm

    def measured(self, step: int, validation_kl: float, vocab: int) -> None:
        """Keep the tensors if they are the best so far. Raises StudyError if training has diverged."""
        if not validation_kl <= 2 * max(self.untrained, math.log(vocab)):
            raise StudyError(
                f"training: diverged at step {step}: validation KL {validation_kl:.3g} nats, "
                f"untrained {self.untrained:.3g}; lower training.learning_rate"
            )
        if validation_kl < self.best:
            self.best, self.best_step, self.best_tensors = validation_kl, step, self.copies()

    def write(self, row: dict[str, Any]) -> None:
        """One line of the log; nothing in it depends on the machine's speed."""
        self.resume_log([json.dumps(row)])

    def resume_log(self, lines: list[str]) -> None:
        """Lines as they were written before."""
        for line in lines:
            self.lines.append(line)
            self._log(line)

    def copies(self) -> list[Tensor]:
        """The trained tensors as they are now."""
        return [parameter.detach().clone() for parameter in self.parameters]

    def finish(self) -> None:
        """Leave the draft with its best tensors."""
        for parameter, kept in zip(self.parameters, self.best_tensors, strict=True):
            parameter.data.copy_(kept)
            parameter.requires_grad_(False)
        self.put_back()

    def put_back(self) -> None:
        """Let the draft be whole: what is trained in place of a head is written into it."""
        if self.rows is not None:
            self.rows.put_back()
