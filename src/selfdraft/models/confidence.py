"""How much of a draft's token will be accepted, read from the state that its head reads.

The confidence head of DSpark (arXiv 2607.05147): a linear map to one number, whose sigmoid predicts Σ min(p, q) at
temperature 1, p the target's distribution and q the draft's: the chance that a token drawn from q is accepted.
"""

import torch
from torch import Tensor

from selfdraft.models.linear import Linear

WEIGHT, BIAS = "confidence.weight", "confidence.bias"  # their names in a checkpoint


class Confidence(Linear):
    """`[…, hidden] -> […, 1]`, the logarithm of the odds that a token drawn from this state is accepted."""

    @staticmethod
    def untrained(hidden: int) -> dict[str, Tensor]:
        """The tensors of one that says even odds of everything."""
        return {WEIGHT: torch.zeros((1, hidden)), BIAS: torch.zeros(1)}

    @staticmethod
    def shapes(hidden: int) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor of a checkpoint."""
        return {WEIGHT: (1, hidden), BIAS: (1,)}

    def pack(self) -> None:
        """Nothing: one row is no matrix product."""

    def chance(self, state: Tensor) -> Tensor:
        """Float32 `[…]` in [0, 1], of what the draft's head reads, `[…, hidden]`."""
        found: Tensor = self(state)
        return torch.sigmoid(found.squeeze(-1).float())
