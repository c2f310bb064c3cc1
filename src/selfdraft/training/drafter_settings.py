"""How a drafter with a layer of its own is trained: the `training` of one entry of the config's `drafters`, checked."""

import math
from dataclasses import dataclass, field
from typing import Any

from selfdraft.errors import StudyError
from selfdraft.training.losses import Objective
from selfdraft.training.settings import DTYPES

STARTS = ("regression", "last_layer")
LOSSES = ("kl", "tv")
LEARNING_RATES = {"norm": 1e-3, "fc": 5e-4, "layer": 5e-4, "head": 2e-4, "bias": 1e-3, "confidence": 1e-3}
WHERE = "training"


@dataclass(frozen=True)
class DrafterSettings:
    """See SETTINGS of drafters/eagle3.py for each key. What `learning_rate` leaves out has its default.

    A step ends with a whole conversation: `tokens_per_step` answer tokens are a lower bound.
    """

    start: str = "regression"
    ttt_length: int = 4
    step_decay: float = 0.8
    step_share: float = 1.0
    loss: str = "kl"
    epochs: int = 1
    tokens_per_step: int = 512
    learning_rate: dict[str, float] = field(default_factory=dict)
    warmup_fraction: float = 0.05
    weight_decay: float = 0.0
    gradient_clip: float = 1.0
    evaluations: int = 6
    dtype: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for key, known in (("start", STARTS), ("loss", LOSSES), ("dtype", tuple(DTYPES))):
            if getattr(self, key) not in known:
                raise StudyError(
                    f"{WHERE}.{key}: {getattr(self, key)!r} is unknown; one of {', '.join(known)} is right"
                )
        for key in ("ttt_length", "epochs", "tokens_per_step", "evaluations", "seed"):
            value, least = getattr(self, key), 0 if key == "seed" else 1
            if type(value) is not int or value < least:
                raise StudyError(f"{WHERE}.{key}: {value!r} is not a whole number ≥ {least}")
        for key in ("step_decay", "gradient_clip", "weight_decay", "warmup_fraction"):
            value, positive = getattr(self, key), key in ("step_decay", "gradient_clip")
            if type(value) not in (int, float) or not 0 <= value < math.inf or (positive and value == 0):
                raise StudyError(f"{WHERE}.{key}: {value!r} is not a number {'>' if positive else '≥'} 0")
        if type(self.step_share) not in (int, float) or not 0 < self.step_share <= 1:
            raise StudyError(f"{WHERE}.step_share: {self.step_share!r} is not in (0, 1]")
        rates = self.learning_rate
        if not isinstance(rates, dict) or set(rates) - set(LEARNING_RATES):
            known_parts = ", ".join(LEARNING_RATES)
            raise StudyError(f"{WHERE}.learning_rate: found {rates!r}, a number for some of {known_parts} is right")
        for part, rate in rates.items():
            if type(rate) not in (int, float) or not 0 <= rate < math.inf:
                raise StudyError(f"{WHERE}.learning_rate.{part}: {rate!r} is not a number ≥ 0")

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> "DrafterSettings":
        """Raises StudyError for an unknown key."""
        unknown = sorted(set(settings) - set(cls.__dataclass_fields__))
        if unknown:
            raise StudyError(f"{WHERE}.{unknown[0]}: unknown key; known are {', '.join(cls.__dataclass_fields__)}")
        return cls(**settings)

    def rate(self, part: str) -> float:
        """The peak learning rate of a part."""
        return self.learning_rate.get(part, LEARNING_RATES[part])

    @property
    def objective(self) -> Objective:
        return Objective(1.0, self.loss)

    @property
    def weights(self) -> list[float]:
        """Of each step's loss in their mean."""
        raw = [self.step_decay**step for step in range(self.ttt_length)]
        return [weight / sum(raw) for weight in raw]

    @property
    def shares(self) -> list[float]:
        """Of the labels that each step learns from."""
        return [self.step_share**step for step in range(self.ttt_length)]
