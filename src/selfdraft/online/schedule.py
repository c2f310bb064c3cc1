"""What each loss counts for, update by update: one loss alone, or the published mixture that moves towards the reward.

The losses by name: `distil` is KL(p ‖ π), `ce` the cross-entropy with accepted tokens, `reward` the policy gradient,
`near` is KL(π ‖ p), `overlap` is −Σ min(p, π); p the verifier, π the draft. The objective `none` learns nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

LOSSES = ("distil", "ce", "reward", "near", "overlap")
ALONE = {"kl": "distil", "ce": "ce", "policy_gradient": "reward", "tv": "overlap"}
OBJECTIVES = ("composite", *ALONE, "none")


@dataclass(frozen=True)
class Mixture:
    """The composite objective's weights (DVI, arXiv 2510.05421; the values are those of its author's code).

    For `warmup` updates they stand as at the start; then for as many they move in a line, and stand again: `distil`
    from its value to 0, `reward` from 0 to its value, `near` from its value to `near_least`; `ce` does not move.
    """

    warmup: int = 100
    distil: float = 0.5
    ce: float = 0.5
    reward: float = 0.2
    near: float = 1.0
    near_least: float = 0.1

    def moved(self, update: int) -> float:
        """How far the weights have moved before update `update` (from 0), in [0, 1]."""
        if update < self.warmup:
            return 0.0
        return min(1.0, (update - self.warmup) / self.warmup) if self.warmup else 1.0

    def weights(self, update: int) -> Mapping[str, float]:
        """The weight of each loss in update `update`."""
        t = self.moved(update)
        return {
            "distil": self.distil * (1 - t),
            "ce": self.ce,
            "reward": self.reward * t,
            "near": self.near * (1 - t) + self.near_least * t,
        }


def weights_of(objective: str, mixture: Mixture, update: int) -> Mapping[str, float]:
    """The weights of an objective's losses in update `update`, none of them 0."""
    found = mixture.weights(update) if objective == "composite" else {ALONE[objective]: 1.0}
    return {name: weight for name, weight in found.items() if weight}
