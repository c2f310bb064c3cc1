"""One trained draft, and the name of its folder."""

import re
from dataclasses import dataclass
from decimal import Decimal

from selfdraft.errors import StudyError

OBJECTIVES = (
    "kl",
    "kl_ce",
    "reverse_kl",
    "tv",
    "none",
)  # what a draft can be trained with; none: it is left as it starts
OBJECTIVE, SEED = "kl", 0  # those that a name need not say

# Behind layer, T and capacity: what else tells trained drafts apart, as far as it is not the usual.
VARIANT = rf"(?:_(?:{'|'.join(OBJECTIVES[1:])}))?(?:_seed[1-9]\d*)?"
NAME = re.compile(
    r"layer(?P<layer>\d+)_T(?P<T>\d+\.\d+)_(?P<capacity>[A-Za-z]\w*?)"
    rf"(?:_(?P<objective>{'|'.join(OBJECTIVES[1:])}))?(?:_seed(?P<seed>[1-9]\d*))?"
)


def temperature_text(T: float) -> str:
    """T as file names write it, without an exponent: 1 -> "1.0", 1e-05 -> "0.00001"."""
    return format(Decimal(repr(float(T))), "f")


@dataclass(frozen=True)
class Checkpoint:
    """One trained draft: the exit after layer `layer` (0 = first), trained at KL temperature `T`."""

    layer: int
    T: float
    capacity: str
    objective: str = OBJECTIVE
    seed: int = SEED

    @property
    def variant(self) -> str:
        """What its name says behind the capacity: the objective and the seed, where they are not kl and 0."""
        objective = "" if self.objective == OBJECTIVE else f"_{self.objective}"
        return objective + ("" if self.seed == SEED else f"_seed{self.seed}")

    @property
    def name(self) -> str:
        """The name of its folder and tables: `layer21_T1.0_head_block`, `layer21_T1.0_head_kl_ce_seed1`, …"""
        return f"layer{self.layer}_T{temperature_text(self.T)}_{self.capacity}{self.variant}"

    @classmethod
    def named(cls, name: str) -> "Checkpoint":
        """The draft of a name. Raises StudyError for what is none."""
        found = NAME.fullmatch(name)
        if found is None:
            raise StudyError(f"{name}: not the name of a trained draft, such as layer21_T1.0_head_block_seed1")
        objective, seed = found["objective"] or OBJECTIVE, int(found["seed"] or SEED)
        return cls(int(found["layer"]), float(found["T"]), found["capacity"], objective, seed)
