"""What the data stage asks of a shape."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from selfdraft.sources.chat import ChatTokenizer
from selfdraft.sources.sifting import Sifted

Row = tuple[list[int], list[int]]  # tokens and mask, equal in length


@dataclass(frozen=True)
class Making:
    """How items become tokens: by which tokenizer, how long at most, with which seed.

    `columns` and `roles` are the source's own names of fields and of who speaks; `changed` counts what is changed
    to make an item fit.
    """

    chat: ChatTokenizer
    sequence_length: int
    seed: int = 0
    english_only: bool = True
    columns: Mapping[str, str] = field(default_factory=dict)
    changed: Counter[str] = field(default_factory=Counter)
    roles: Mapping[str, str] = field(default_factory=dict)


class Shape(Protocol):
    """Records of one shape -> items -> sequences and prompts. An item has an `id`."""

    item_name: str  # what items and sequences are called in sources.json
    sequence_name: str
    has_sequences: bool

    def __init__(self, making: Making) -> None:
        """Raises StudyError for a name in `making.columns` that the shape does not have."""

    def clean(self, records: Iterable[Any], name: str) -> Sifted[Any]:
        """Clean items of raw records. Raises StudyError, naming `name`, if none has the columns or is left."""

    def origins(self, items: Sequence[Any]) -> list[str]:
        """The origin of each item: those that share one are never in two splits."""

    def sequences(self, item: Any) -> list[Row]:
        """An item's sequences, each with at least one label; none if it has no room for a label."""

    def prompt(self, item: Any, fewest: int, most: int) -> tuple[list[int], str] | None:
        """A prompt of `fewest` to `most` tokens, and its text, if the item has one."""
