"""One draft while it is trained: what its loss is over, and how near it is to the teacher."""

import math
from collections.abc import Callable

from torch import nn

from selfdraft.errors import StudyError
from selfdraft.models.exit import Exit
from selfdraft.training.losses import Objective
from selfdraft.training.optimised import Optimised
from selfdraft.training.settings import Settings
from selfdraft.training.words import Rows, Words


class Learner(Optimised):
    """Trains the parameters of `draft`; keeps the tensors of the lowest validation KL seen.

    `log` takes one JSON line a step; the first line is the untrained draft.
    """

    numbers = ("untrained", "best", "best_step", "left_out", "seconds")

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
        self.rows = None if words is None else Rows(words, draft.head.by_output(), draft.trained())
        groups = {
            part: (self._instead(parameters), settings.rate(draft.capacity, part))
            for part, parameters in draft.parameter_groups().items()
        }
        super().__init__(groups, settings.weight_decay, settings.gradient_clip, log)
        self.untrained = self.best = math.inf
        self.left_out = 0.0  # the teacher's mass that the loss does not see, mean over the validation text

    def _instead(self, parameters: list[nn.Parameter]) -> list[nn.Parameter]:
        return parameters if self.rows is None else [self.rows.in_place_of(parameter) for parameter in parameters]

    def begin(self, validation_kl: float, left_out: float) -> None:
        """Note the untrained draft."""
        self.untrained = self.best = validation_kl
        self.left_out = left_out
        self.keep(0)
        nothing = dict.fromkeys(self.parts, 0.0)
        row = {"step": 0, "tokens": 0, "loss": None, "lr": 0.0, "rates": nothing, "grad_norm": None}
        self.write(row | {"validation_kl": validation_kl})

    def measured(self, step: int, validation_kl: float, vocab: int) -> None:
        """Keep the tensors if they are the best so far. Raises StudyError if training has diverged."""
        if not validation_kl <= 2 * max(self.untrained, math.log(vocab)):
            raise StudyError(
                f"training: diverged at step {step}: validation KL {validation_kl:.3g} nats, "
                f"untrained {self.untrained:.3g}; lower training.learning_rate"
            )
        if validation_kl < self.best:
            self.best = validation_kl
            self.keep(step)

    def finish(self) -> None:
        """Leave the draft with its best tensors."""
        super().finish()
        self.put_back()

    def take(self) -> None:
        """Note that the draft has been changed from outside: what is trained in place of a head is taken from it."""
        if self.rows is not None:
            self.rows.take()

    def put_back(self) -> None:
        """Let the draft be whole: what is trained in place of a head is written into it."""
        if self.rows is not None:
            self.rows.put_back()
