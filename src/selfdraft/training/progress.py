"""How far training is: a bar on a terminal, a line now and then where standard error is a file."""

import sys
import time
from collections.abc import Callable
from typing import TextIO

from tqdm import tqdm

SECONDS = 15.0  # between two lines


def clock_text(seconds: float) -> str:
    """A duration as a person says it: 40 s, 12 min, 3.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


class Progress:
    """Told of every step; says the loss, the best validation KL so far, labels a second and the time left."""

    def __init__(
        self,
        total: int,
        first: int,
        label: str,
        shown: bool = True,
        stream: TextIO | None = None,
        now: Callable[[], float] = time.monotonic,
        measure: str = "validation KL",
    ) -> None:
        """`first` steps of `total` were taken before, which tell nothing of the time. Not `shown`: says nothing.

        `measure` is what the best so far is of.
        """
        self.total, self.first, self.label, self.now, self.measure = total, first, label, now, measure
        self.stream = stream or sys.stderr
        on_terminal = shown and self.stream.isatty()
        self._bar = tqdm(total=total, initial=first, unit="step", desc=label, file=self.stream) if on_terminal else None
        self.shown = shown and not on_terminal
        self.begun = self.last = now()
        self.labels = 0

    def step(self, done: int, labels: int, loss: float, best: float) -> None:
        """After step `done` of `labels` labels: its loss in nats a token, and the best of `measure`."""
        self.labels += labels
        if self._bar is not None:
            self._bar.update()
            self._bar.set_postfix({"loss": f"{loss:.3f}", self.measure: f"{best:.3f}"})
        moment = self.now()
        if self.shown and (moment - self.last >= SECONDS or done == self.total):
            self.last = moment
            seconds = max(moment - self.begun, 1e-9)
            left = seconds / (done - self.first) * (self.total - done)
            print(
                f"{self.label}: step {done} of {self.total}, loss {loss:.3f}, {self.measure} {best:.3f}, "
                f"{self.labels / seconds:.0f} labels/s, {clock_text(left)} left",
                file=self.stream,
                flush=True,
            )

    def close(self) -> None:
        """The end of the bar."""
        if self._bar is not None:
            self._bar.close()
