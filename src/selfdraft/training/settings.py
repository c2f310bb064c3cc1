"""The config's `training` section, checked."""

import math
from dataclasses import dataclass, field
from typing import Any

import torch

from selfdraft.capacities import LEARNING_RATES, RANKS, capacity_named
from selfdraft.errors import StudyError
from selfdraft.training.losses import Objective

OBJECTIVES = {"kl": "kl", "kl_ce": "kl", "reverse_kl": "reverse_kl", "tv": "tv", "none": "kl"}  # name -> divergence
MODES = ("offline", "online")
MAY_BE_0 = ("seed", "teacher_top_k", "loss_vocabulary")
STARTS = ("regression", "logit_lens")
DTYPES = {"auto": None, "bfloat16": torch.bfloat16, "float32": torch.float32}  # auto: the target's


@dataclass(frozen=True)
class Settings:
    """See workflow/schemas/config.schema.yaml for each key. What `learning_rate` or `ranks` leave out has its default.

    `tokens_per_step` counts answer tokens of all processes together, and is a lower bound: a step ends
    with a whole conversation. `gradient_accumulation` is the number of parts in which each process
    works on its share of a step; it changes the memory needed, not the result.
    """

    objective: str = "kl"
    ce_weight: float = 0.0
    teacher_top_k: int = 0
    loss_vocabulary: int = 0
    start: str = "regression"
    mode: str = "offline"
    epochs: int = 1
    tokens_per_step: int = 256
    gradient_accumulation: int = 1
    learning_rate: dict[str, float] = field(default_factory=dict)
    ranks: dict[str, int] = field(default_factory=dict)
    warmup_fraction: float = 0.1
    weight_decay: float = 0.0
    gradient_clip: float = 1.0
    evaluations: int = 5
    dtype: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for key, known in (("objective", OBJECTIVES), ("start", STARTS), ("mode", MODES), ("dtype", DTYPES)):
            if getattr(self, key) not in known:
                raise StudyError(f"training.{key}: {getattr(self, key)!r} is unknown; one of {', '.join(known)} is")
        for key in ("epochs", "tokens_per_step", "gradient_accumulation", "evaluations", *MAY_BE_0):
            value, least = getattr(self, key), 0 if key in MAY_BE_0 else 1
            if type(value) is not int or value < least:
                raise StudyError(f"training.{key}: {value!r} is not a whole number ≥ {least}")
        for key in ("gradient_clip", "weight_decay", "ce_weight", "warmup_fraction"):
            value, positive = getattr(self, key), key == "gradient_clip"
            if type(value) not in (int, float) or not 0 <= value < math.inf or (positive and value == 0):
                raise StudyError(f"training.{key}: {value!r} is not a number {'>' if positive else '≥'} 0")
        if self.objective == "kl_ce" and self.ce_weight == 0:
            raise StudyError("training.ce_weight: 0, but objective kl_ce needs a weight > 0")
        if self.objective == "kl_ce" and self.loss_vocabulary:
            raise StudyError(
                "training.loss_vocabulary: does not go with objective kl_ce, whose labels may be any token; 0 keeps all"
            )
        for key, known_parts in (("learning_rate", LEARNING_RATES), ("ranks", RANKS)):
            found = getattr(self, key)
            if not isinstance(found, dict) or set(found) - set(known_parts):
                raise StudyError(
                    f"training.{key}: found {found!r}, a number for some of {', '.join(known_parts)} is right"
                )
        for part, rate in self.learning_rate.items():
            if type(rate) not in (int, float) or not 0 <= rate < math.inf:
                raise StudyError(f"training.learning_rate.{part}: {rate!r} is not a number ≥ 0")
        for part, rank in self.ranks.items():
            if type(rank) is not int or rank < 1:
                raise StudyError(f"training.ranks.{part}: {rank!r} is not a whole number ≥ 1")
        self.objective_at(1.0)

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> "Settings":
        """Raises StudyError for an unknown key."""
        unknown = sorted(set(settings) - set(cls.__dataclass_fields__))
        if unknown:
            raise StudyError(f"training.{unknown[0]}: unknown key; known are {', '.join(cls.__dataclass_fields__)}")
        return cls(**settings)

    def rate(self, capacity: str, part: str) -> float:
        """The peak learning rate of a part of a draft."""
        return self.learning_rate.get(part, capacity_named(capacity).rate(part))

    def objective_at(self, temperature: float) -> Objective:
        """The objective at KL temperature T. Raises StudyError for one that is not finite and > 0."""
        weight = self.ce_weight if self.objective == "kl_ce" else 0.0
        return Objective(temperature, OBJECTIVES[self.objective], weight, self.teacher_top_k)
