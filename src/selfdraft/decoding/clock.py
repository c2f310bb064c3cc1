"""Phase times without stopping the device: CUDA events there, the wall clock on the CPU."""

import time
from typing import Any

import torch


def now(device: torch.device) -> float:
    """Wall-clock seconds once all work handed to the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class Laps:
    """Marks between the phases of one cycle; `seconds` may be asked once the device has passed the last mark."""

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"
        self.marks: list[Any] = []

    def mark(self) -> None:
        """A phase ends here, and the next one begins."""
        if self.cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self.marks.append(event)
        else:
            self.marks.append(time.perf_counter())

    def seconds(self) -> list[float]:
        """The phases' durations, one less than there are marks."""
        pairs = zip(self.marks, self.marks[1:], strict=False)
        return [a.elapsed_time(b) / 1000 if self.cuda else b - a for a, b in pairs]
