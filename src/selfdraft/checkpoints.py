"""One trained draft, and the name of its folder."""

from dataclasses import dataclass
from decimal import Decimal


def temperature_text(T: float) -> str:
    """T as file names write it, without an exponent: 1 -> "1.0", 1e-05 -> "0.00001"."""
    return format(Decimal(repr(float(T))), "f")


@dataclass(frozen=True)
class Checkpoint:
    """One trained draft: the exit after layer `layer` (0 = first), trained at KL temperature `T`."""

    layer: int
    T: float
    capacity: str

    @property
    def name(self) -> str:
        """The name of its folder and tables, such as `layer21_T1.0_head_block`."""
        return f"layer{self.layer}_T{temperature_text(self.T)}_{self.capacity}"
