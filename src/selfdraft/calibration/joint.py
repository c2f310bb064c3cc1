"""Thresholds of all heads together: of tokens that leave at their first sure head, and that nobody verifies.

One threshold is shared by all heads: so many numbers become one, and its order is fixed before anybody looks. The loss
is a conversation's share of tokens that leave early with another token than the target's, of all its tokens: a token
that goes to the full depth is the target's own.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from selfdraft.calibration.exits import Counted, Said, by_rule
from selfdraft.calibration.measures import MEASURES, grid, sure
from selfdraft.calibration.pvalues import Floats

RISK = "share of a conversation's tokens that leave early with another token than the target's, mean over conversations"


def first_exits(heads: Sequence[Said], measure: str) -> tuple[Floats, Floats]:
    """Tokens that leave early at each threshold of `grid`, and those of them that the target says otherwise.

    `heads` speak of the same tokens, shallow ones first. `[conversations, thresholds]` each.
    """
    first = heads[0]
    leaves, errors = [], []
    for threshold in grid(measure):
        left, wrong = np.zeros((2, len(first.agrees)), dtype=bool)
        for said in heads:
            now = sure(said.values[measure], measure, threshold) & ~left
            wrong |= now & ~said.agrees
            left |= now
        leaves.append(np.bincount(first.conversation[left], minlength=first.conversations))
        errors.append(np.bincount(first.conversation[wrong], minlength=first.conversations))
    return np.stack(leaves, axis=1).astype(float), np.stack(errors, axis=1).astype(float)


def joint_losses(heads: Sequence[Said], errors: Floats) -> Floats:
    """Each conversation's share of all its tokens, in [0, 1]; 0 for one without tokens."""
    tokens = np.bincount(heads[0].conversation, minlength=heads[0].conversations)[:, None].astype(float)
    return np.divide(errors, tokens, out=np.zeros_like(errors), where=tokens > 0)


def joint_thresholds(learn: Sequence[Said], test: Sequence[Said], epsilon: float) -> dict[str, dict[str, Any]]:
    """The threshold that all heads share, by measure, rule and level; as `exits.thresholds`, with the loss of this."""

    def counted(heads: Sequence[Said], measure: str) -> Counted:
        leaves, errors = first_exits(heads, measure)
        return Counted(leaves, joint_losses(heads, errors), len(heads[0].agrees))

    return {measure: by_rule(measure, counted(learn, measure), counted(test, measure), epsilon) for measure in MEASURES}
