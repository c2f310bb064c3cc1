"""Numbers that the host knows, on their way to the device: the host does not wait for them to arrive."""

from typing import Any

import torch
from torch import Tensor


def uploaded(values: Any, device: torch.device) -> Tensor:
    """An int64 tensor of a list of numbers (or of lists of them) on `device`."""
    made = torch.tensor(values, dtype=torch.int64)
    return made.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else made.to(device)
