"""The last records, a bounded number of them: which no update has seen yet, and which are replayed."""

import torch
from torch import Tensor

from selfdraft.errors import StudyError
from selfdraft.online.records import Records


class Buffer:
    """A ring: a new record takes the place of the oldest.

    For each of `capacity` records it holds two states of the model and 44 bytes: for the default target in float32
    4,652 bytes, 9.5 MB for 2048 records. All of it is allocated at once.
    """

    def __init__(self, capacity: int, hidden: int, dtype: torch.dtype, device: torch.device) -> None:
        if capacity < 1:
            raise StudyError(f"buffer: {capacity} is not ≥ 1")
        self.capacity = capacity
        states = torch.zeros((2, capacity, hidden), dtype=dtype, device=device)
        numbers = torch.zeros((3, capacity), dtype=torch.float32, device=device)
        places = torch.zeros((3, capacity), dtype=torch.int64)
        tokens = torch.zeros(capacity, dtype=torch.int64, device=device)
        self._held = Records(states[0], states[1], tokens, *numbers, *places)
        self.seen = 0  # records ever added
        self.used = 0  # of these, how many an update has seen, or was never to see

    def __len__(self) -> int:
        return min(self.seen, self.capacity)

    @property
    def bytes(self) -> int:
        """Of memory, whatever it holds."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self._held.tensors().values())

    @property
    def fresh(self) -> int:
        """How many of the records no update has seen."""
        return min(self.seen - self.used, self.capacity)

    def add(self, records: Records) -> None:
        """Append them in their order."""
        kept = records.at(slice(max(0, len(records) - self.capacity), None))
        first = self.seen + len(records) - len(kept)
        slots = (torch.arange(len(kept)) + first) % self.capacity
        for name, mine in self._held.tensors().items():
            mine[slots] = getattr(kept, name).to(mine.device, mine.dtype)
        self.seen += len(records)

    @property
    def oldest_sequence(self) -> int:
        """The number of the oldest text that it has records of; 0 if it has none."""
        return int(self._held.sequence[: len(self)].min()) if len(self) else 0

    def newest(self, count: int) -> Tensor:
        """The slots of the last `count` records, oldest first."""
        return torch.arange(self.seen - count, self.seen) % self.capacity

    def replayed(self, count: int, generator: torch.Generator) -> Tensor:
        """The slots of `count` records that updates have seen, or of all of them: a uniform draw, none twice."""
        older = len(self) - self.fresh
        drawn = torch.randperm(older, generator=generator)[:count]
        return (drawn + self.seen - len(self)) % self.capacity

    def read(self, slots: Tensor) -> Records:
        """Copies of the records there."""
        return self._held.at(slots)

    def note_policy(self, slots: Tensor, log_policy: Tensor) -> None:
        """Put down the draft's log probabilities of the tokens there."""
        self._held.log_policy[slots] = log_policy.to(self._held.log_policy.device)

    def use(self) -> None:
        """An update has seen all records."""
        self.used = self.seen

    def tensors(self) -> dict[str, Tensor]:
        """All that it holds, for a saved state."""
        counts = torch.tensor([self.seen, self.used])
        return {f"buffer.{name}": tensor for name, tensor in self._held.tensors().items()} | {"buffer.counts": counts}

    def take_up(self, saved: dict[str, Tensor]) -> None:
        """What `tensors` gave."""
        for name, mine in self._held.tensors().items():
            mine.copy_(saved[f"buffer.{name}"])
        self.seen, self.used = saved["buffer.counts"].tolist()
