"""One of several equal shares of a stage's work: consecutive parts, so that their tables join to the whole one."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from selfdraft.errors import StudyError

T = TypeVar("T")

HELP = "measure only this part of the work, such as 2/4; the tables of all parts join to the whole one"


@dataclass(frozen=True)
class Shard:
    """Part `number`, counted from 1, of `count`."""

    number: int = 1
    count: int = 1

    @classmethod
    def from_text(cls, text: str, option: str = "--shard") -> "Shard":
        """Read "2/4". Raises StudyError that names `option` if it is not of that form."""
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        shard = cls(*map(int, found.groups())) if found else cls(0)
        if not 1 <= shard.number <= shard.count:
            raise StudyError(f"{option}: {text!r} is not a part such as 2/4, from 1/4 to 4/4")
        return shard

    def of(self, items: Sequence[T]) -> list[T]:
        """This part of the items; parts differ by one item at most, and may be empty."""
        begin, end = ((number * len(items)) // self.count for number in (self.number - 1, self.number))
        return list(items[begin:end])


WHOLE = Shard()  # all the work
