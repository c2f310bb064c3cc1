"""From losses of conversations to one threshold: the plain empirical rule, and Learn-then-Test.

Thresholds stand in an order that is fixed before anybody looks at a loss, from the most conservative to the most
permissive one. A conversation is the unit: losses are `[conversations, thresholds]`, in [0, 1].
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from selfdraft.calibration.pvalues import Floats, conversations_needed, p_values
from selfdraft.errors import StudyError

RULES = ("empirical", "learn_then_test")


@dataclass(frozen=True)
class Choice:
    """What a rule chose: the place of a threshold in the order, None if the level is unreachable.

    `risk` is the mean loss there, on the conversations that were looked at; of what is unreachable it is that of the
    most conservative threshold. `needed`: conversations of such a risk that it would take to promise the level; None if
    no number of them would do.
    """

    place: int | None
    risk: float
    needed: int | None = None


def last_rejected(p: npt.ArrayLike, epsilon: float) -> Any:
    """Fixed-sequence test over the last axis of p-values: the place of the last hypothesis rejected, -1 if none is.

    Hypotheses are tested in their order at level `epsilon` until the first that cannot be rejected; the chance that any
    true one is rejected is at most epsilon, whatever their number (Angelopoulos et al. 2021, Learn then Test).
    """
    kept = ~(np.asarray(p) <= epsilon)  # a p-value that is no number rejects nothing
    first = np.argmax(kept, axis=-1)
    return np.where(kept.any(axis=-1), first, kept.shape[-1]) - 1


def empirical(losses: Floats, delta: float) -> Choice:
    """The most permissive threshold whose mean loss is at most `delta`: it promises nothing of new conversations."""
    risks = _risks(losses)
    within = np.flatnonzero(risks <= delta)
    if not within.size:
        return Choice(None, float(risks[0]))
    return Choice(int(within[-1]), float(risks[within[-1]]))


def learn_then_test(losses: Floats, delta: float, epsilon: float, binary: bool = False) -> Choice:
    """The last threshold rejected of "its risk is more than delta": with probability >= 1 - epsilon it is not.

    `binary`: losses are 0 or 1 by their definition, and the exact test is used. What is promised is the mean loss of a
    conversation like these.
    """
    risks = _risks(losses)
    place = int(last_rejected(p_values(losses.sum(axis=0), len(losses), delta, binary), epsilon))
    if place < 0:
        return Choice(None, float(risks[0]), conversations_needed(float(risks[0]), delta, epsilon, binary))
    return Choice(place, float(risks[place]))


def check_chances(delta: float, epsilon: float) -> None:
    """Raise StudyError unless the limit of the risk is in [0, 1] and the chance to be wrong in (0, 1)."""
    if not 0 <= delta <= 1:
        raise StudyError(f"delta: {delta} is not in [0, 1]")
    if not 0 < epsilon < 1:
        raise StudyError(f"epsilon: {epsilon} is not in (0, 1)")


def _risks(losses: Floats) -> Floats:
    if not len(losses):
        raise StudyError("calibration: no conversation to look at")
    return np.asarray(losses.mean(axis=0), dtype=np.float64)
