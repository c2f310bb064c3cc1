"""How training is asked to stop, and what it says when it has."""

from typing import Protocol


class Stop(Protocol):
    """What says whether training is to stop, such as an event of `threading`."""

    def is_set(self) -> bool: ...


class Stopped(Exception):
    """Training was asked to stop; its state was saved after `step` steps, if it is saved at all."""

    def __init__(self, step: int, saved: bool) -> None:
        super().__init__(step, saved)
        self.step, self.saved = step, saved
