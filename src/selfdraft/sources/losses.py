"""What could not be read of a source's files, added up while their records are read."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Losses:
    """`characters` of text that are in no record, the `reasons`, and what was `changed` to read the rest."""

    characters: int = 0
    reasons: list[str] = field(default_factory=list)
    changed: Counter[str] = field(default_factory=Counter)

    def add(self, reason: str, characters: int = 0) -> None:
        """Note one loss; a file that breaks off may have lost what nobody can count."""
        self.characters += characters
        self.reasons.append(reason)

    @property
    def reason(self) -> str:
        """All reasons in one line; empty if nothing was lost."""
        return "; ".join(self.reasons)
