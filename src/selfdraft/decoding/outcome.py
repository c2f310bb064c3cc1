"""What a drafter is told once a verification: what came of its draft, and the states and logits to go on from."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass
class Outcome:
    """One cycle of all rows, after it was committed.

    Attributes:
        starts: position of each row's token that was pending before the cycle.
        drafted: tokens of each row's draft, of a tree its nodes; accepted: how many of them the target took.
        tokens: each row's new verified tokens, the accepted ones and the next pending one; none for a row that
            is finished.
        features: the target's states at the depths that the drafter asked for, `[batch, longest + 1, hidden]`: of
            the token that was pending, and of those drafted (of a tree: of its accepted path); a row's first
            `accepted + 1` are verified.
        logits: the target's logits after these same tokens, `[batch, longest + 1, vocab]`, before any warp.
        draft_s, verify_s: seconds that the draft and its verification took.
    """

    starts: list[int]
    drafted: list[int]
    accepted: list[int]
    tokens: list[list[int]]
    features: dict[int, Tensor]
    logits: Tensor
    draft_s: float
    verify_s: float

    @property
    def decided(self) -> list[tuple[int, int]]:
        """(drafted, accepted) of each row that goes on."""
        rows = zip(self.drafted, self.accepted, self.tokens, strict=True)
        return [(drafted, accepted) for drafted, accepted, tokens in rows if tokens]

    @property
    def longest(self) -> int:
        """The most drafted tokens that a row has accepted."""
        return max((accepted for _, accepted in self.decided), default=0)

    def to_learn_from(self) -> "Outcome":
        """The same with copies made outside inference mode: only such may take part in a gradient."""
        with torch.inference_mode(False):
            features = {depth: states.clone() for depth, states in self.features.items()}
            return replace(self, features=features, logits=self.logits.clone())
