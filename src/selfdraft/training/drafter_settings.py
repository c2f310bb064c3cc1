"""How a drafter with a layer of its own is trained: the `training` of one entry of the config's `drafters`, checked."""

from dataclasses import asdict, dataclass, field
from typing import Any

from selfdraft.settings.check import check
from selfdraft.settings.kinds import kind_of
from selfdraft.training.losses import Objective

RULE = kind_of("eagle3").settings["training"]
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
    tokens_per_step: int = 128
    learning_rate: dict[str, float] = field(default_factory=dict)
    warmup_fraction: float = 0.05
    weight_decay: float = 0.0
    gradient_clip: float = 1.0
    evaluations: int = 6
    dtype: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        check(asdict(self), RULE, WHERE)

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> "DrafterSettings":
        """Raises StudyError for an unknown key, or a value that is none."""
        check(settings, RULE, WHERE)
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
