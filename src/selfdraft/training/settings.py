"""The config's `training` section, checked."""

from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from selfdraft.capacities import capacity_named
from selfdraft.errors import StudyError
from selfdraft.settings.capacity_rules import training_rule
from selfdraft.settings.check import check
from selfdraft.training.losses import Objective

OBJECTIVES = {"kl": "kl", "kl_ce": "kl", "reverse_kl": "reverse_kl", "tv": "tv", "none": "kl"}  # name -> divergence
DTYPES = {"auto": None, "bfloat16": torch.bfloat16, "float32": torch.float32}  # auto: the target's


@dataclass(frozen=True)
class Settings:
    """See settings/config.schema.yaml for each key. What `learning_rate` or `ranks` leave out has its default.

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
        check(asdict(self), training_rule(), "training")
        if self.objective == "kl_ce" and self.ce_weight == 0:
            raise StudyError("training.ce_weight: 0, but objective kl_ce needs a weight > 0")
        if self.objective == "kl_ce" and self.loss_vocabulary:
            raise StudyError(
                "training.loss_vocabulary: does not go with objective kl_ce, whose labels may be any token; 0 keeps all"
            )
        self.objective_at(1.0)

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> "Settings":
        """Raises StudyError for an unknown key, or a value that is none."""
        check(settings, training_rule(), "training")
        return cls(**settings)

    def rate(self, capacity: str, part: str) -> float:
        """The peak learning rate of a part of a draft."""
        return self.learning_rate.get(part, capacity_named(capacity).rate(part))

    def objective_at(self, temperature: float) -> Objective:
        """The objective at KL temperature T. Raises StudyError for one that is not finite and > 0."""
        weight = self.ce_weight if self.objective == "kl_ce" else 0.0
        return Objective(temperature, OBJECTIVES[self.objective], weight, self.teacher_top_k)
