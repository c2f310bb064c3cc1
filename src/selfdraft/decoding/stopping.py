"""Adaptive draft length: stop drafting a row when the draft itself is unsure."""

from dataclasses import dataclass

import torch
from torch import Tensor

from selfdraft.errors import StudyError


@dataclass(frozen=True)
class Stopping:
    """Stop after a token drawn where the draft's best probability is below `min_confidence`, or its
    entropy above `max_entropy` nats; that token is still verified (Kangaroo; SVIP, arXiv 2411.18462).
    Of a drafter that predicts it, the chance that the token is accepted takes that probability's place.

    Whether to go on depends only on tokens drafted before, never on the verification: the output's
    distribution is the target's whatever the thresholds are. Off by default.
    """

    min_confidence: float = 0.0
    max_entropy: float = float("inf")

    def __post_init__(self) -> None:
        if not 0 <= self.min_confidence <= 1:
            raise StudyError(f"min_confidence: {self.min_confidence} is not in [0, 1]")
        if not self.max_entropy >= 0:
            raise StudyError(f"max_entropy: {self.max_entropy} is not ≥ 0")

    @property
    def active(self) -> bool:
        return self.min_confidence > 0 or self.max_entropy < float("inf")

    def unsure(self, logits: Tensor, chance: Tensor | None = None) -> Tensor:
        """Bool `[batch]` of draft logits `[batch, vocab]`, at temperature 1.

        `chance [batch]`, if given, takes the place of the best probability.
        """
        entropy = self.max_entropy < float("inf")
        if chance is not None and not entropy:
            return chance < self.min_confidence
        log_q = torch.log_softmax(logits.float(), dim=-1)
        low = (log_q.amax(dim=-1).exp() if chance is None else chance) < self.min_confidence
        if not entropy:
            return low
        return low | (-(log_q.exp() * log_q).nan_to_num(0.0).sum(dim=-1) > self.max_entropy)
