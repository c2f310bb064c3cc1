"""From what heads said of tokens to their thresholds: losses of whole conversations, and what each rule chooses."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from selfdraft.calibration.measures import MEASURES, grid, sure
from selfdraft.calibration.pvalues import Floats, conversations_needed
from selfdraft.calibration.rules import RULES, check_chances, empirical, learn_then_test
from selfdraft.errors import StudyError

LEVELS = (0.50, 0.55, 0.60, 0.65, 0.70, 0.75, 0.80, 0.85, 0.90, 0.95)  # of accuracy: 1 less the risk


@dataclass(frozen=True)
class Said:
    """What one head said of tokens, `[tokens]` each.

    conversation: number of the conversation that a token is of, 0 … conversations - 1; agrees: whether the head's best
    token is the target's; values: the measures by name.
    """

    conversation: npt.NDArray[np.int64]
    agrees: npt.NDArray[np.bool_]
    values: dict[str, Floats]
    conversations: int

    def of(self, chosen: Sequence[int]) -> "Said":
        """The tokens of some conversations alone, which are numbered anew in the order given."""
        number = np.full(self.conversations, -1)
        number[list(chosen)] = np.arange(len(chosen))
        kept = number[self.conversation] >= 0
        values = {name: found[kept] for name, found in self.values.items()}
        return Said(number[self.conversation[kept]], self.agrees[kept], values, len(chosen))


def exits_and_errors(said: Said, measure: str) -> tuple[Floats, Floats]:
    """How many tokens leave at each threshold of `grid`, and at how many of those the target says another token.

    `[conversations, thresholds]` each.
    """
    leaves, errors = [], []
    for threshold in grid(measure):
        out = sure(said.values[measure], measure, threshold)
        leaves.append(np.bincount(said.conversation[out], minlength=said.conversations))
        wrong = out & ~said.agrees
        errors.append(np.bincount(said.conversation[wrong], minlength=said.conversations))
    return np.stack(leaves, axis=1).astype(float), np.stack(errors, axis=1).astype(float)


def losses(leaves: Floats, errors: Floats) -> Floats:
    """Each conversation's share of exits that disagree with the target, in [0, 1]; 0 where nothing leaves."""
    return np.divide(errors, leaves, out=np.zeros_like(errors), where=leaves > 0)


def level_text(level: float) -> str:
    """How a level is written as a key: 0.5 -> "0.50"."""
    return f"{level:.2f}"


def check_enough(conversations: int, epsilon: float) -> None:
    """Raise StudyError if so few conversations could not promise even the lowest level, were all exits right."""
    check_chances(1 - LEVELS[0], epsilon)
    least, most = (conversations_needed(0.0, 1 - level, epsilon) for level in (LEVELS[0], LEVELS[-1]))
    if least is None or conversations < least:
        raise StudyError(
            f"calibration: {conversations} conversations are too few to promise anything; level {LEVELS[0]:.2f} needs "
            f"{least} at epsilon {epsilon:g}, level {LEVELS[-1]:.2f} needs {most}, were all exits right"
        )


@dataclass(frozen=True)
class Counted:
    """Of one split: tokens that leave at each threshold, losses `[conversations, thresholds]` each, and all tokens."""

    leaves: Floats
    losses: Floats
    tokens: int


def thresholds(learn: Said, test: Said, epsilon: float) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
    """One head's threshold by measure, rule and level, with its risk on what it was chosen on and on other text.

    `threshold` is None for a level that is unreachable, with the conversations that it would take (None: no number).
    """

    def counted(said: Said, measure: str) -> Counted:
        leaves, errors = exits_and_errors(said, measure)
        return Counted(leaves, losses(leaves, errors), len(said.agrees))

    return {measure: by_rule(measure, counted(learn, measure), counted(test, measure), epsilon) for measure in MEASURES}


def by_rule(measure: str, learn: Counted, test: Counted, epsilon: float) -> dict[str, dict[str, dict[str, Any]]]:
    """What each rule chooses at each level, see `thresholds`."""
    found: dict[str, dict[str, dict[str, Any]]] = {rule: {} for rule in RULES}
    for rule in RULES:
        for level in LEVELS:
            delta = round(1 - level, 9)
            losses_of = learn.losses
            choice = empirical(losses_of, delta) if rule == "empirical" else learn_then_test(losses_of, delta, epsilon)
            made: dict[str, Any] = {"threshold": None, "risk": choice.risk}
            if choice.place is None:
                made["conversations_needed"] = choice.needed
            else:
                made["threshold"] = float(grid(measure)[choice.place])
                made["exit_rate"] = float(learn.leaves[:, choice.place].sum() / max(1, learn.tokens))
                if len(test.losses):
                    made["observed_risk"] = float(test.losses[:, choice.place].mean())
                    made["observed_exit_rate"] = float(test.leaves[:, choice.place].sum() / max(1, test.tokens))
            found[rule][level_text(level)] = made
    return found
