"""How a drafter drafts: when it stops early, and from how many tokens of the vocabulary it draws."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from selfdraft.decoding.stopping import Stopping
from selfdraft.errors import StudyError


@dataclass(frozen=True)
class Drafting:
    """One entry of the config's `drafting`; the default drafts gamma tokens from the whole vocabulary.

    Attributes:
        min_confidence, max_entropy: see `Stopping`; 0 and None are off.
        adapt: choose each cycle's length from what was accepted before, see `Pace`.
        vocabulary: draft only the most frequent tokens of the training split, this many; None is all.
    """

    name: str = "fixed"
    min_confidence: float = 0.0
    max_entropy: float | None = None
    adapt: bool = False
    vocabulary: int | None = None

    def __post_init__(self) -> None:
        where = f"drafting.{self.name}"
        for key in ("min_confidence", "max_entropy"):
            value = getattr(self, key)
            if type(value) not in (int, float) and not (key == "max_entropy" and value is None):
                raise StudyError(f"{where}.{key}: {value!r} is not a number")
        if type(self.adapt) is not bool:
            raise StudyError(f"{where}.adapt: {self.adapt!r} is not true or false")
        if self.vocabulary is not None and (type(self.vocabulary) is not int or self.vocabulary < 1):
            raise StudyError(f"{where}.vocabulary: {self.vocabulary!r} is not an integer ≥ 1")
        try:
            self.stopping()
        except StudyError as error:
            raise StudyError(f"{where}.{error}") from None

    @classmethod
    def from_settings(cls, name: str, settings: Mapping[str, Any]) -> "Drafting":
        """From the config's `drafting.NAME`. Raises StudyError for an unknown key or a value out of range."""
        known = ("min_confidence", "max_entropy", "adapt", "vocabulary")
        for key in settings:
            if key not in known:
                raise StudyError(f"drafting.{name}.{key}: unknown key; known are {', '.join(known)}")
        return cls(name, **settings)

    def of_full_length(self) -> "Drafting":
        """The same steps, at the same cost, of drafts that never end before gamma tokens."""
        least = 1e-30 if self.min_confidence > 0 else 0.0
        most = None if self.max_entropy is None else 1e30
        return replace(self, adapt=False, min_confidence=least, max_entropy=most)

    def must_be_fixed(self, drafter: str, kind: str) -> None:
        """Raise StudyError unless this is a plain draft: for a kind that computes no logits."""
        if self.stopping() or self.adapt or self.vocabulary:
            raise StudyError(
                f"drafters.{drafter}: {kind} has no confidence, no step to save and no head to trim: "
                f"drafting {self.name} is not for it; use fixed"
            )

    def stopping(self) -> Stopping | None:
        """The thresholds as the loop wants them; None if both are off."""
        highest = float("inf") if self.max_entropy is None else self.max_entropy
        made = Stopping(self.min_confidence, highest)
        return made if made.active else None
