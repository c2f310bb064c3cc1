"""Raw records -> kept items of one shape: every record that is dropped is counted, and ids become unique."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from selfdraft.errors import StudyError
from selfdraft.sources.english import is_english

Item = TypeVar("Item")
Texts = tuple[str, ...]
MISSING = "missing fields"
# What to set where a reason left nothing, by how the reason begins.
REMEDIES = {
    MISSING: "columns: {COLUMN: NAME} says where the fields are",
    "unknown role": "roles: {NAME: user | assistant | system} says whose turns they are (system: removed)",
    "tool turns": "roles: {tool: user} keeps them as turns of the user",
    "not English": "english_only: false keeps other languages",
    "no question with an answer": "expected a user's turn and an assistant's behind it",
}


@dataclass
class Sifted(Generic[Item]):
    """`read` records = kept items + dropped ones; `changed` counts texts, or items, that a rule changed."""

    items: list[Item] = field(default_factory=list)
    read: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)


class Fields:
    """Finds a shape's columns in records: under the name that a source gives, else under a usual one."""

    def __init__(self, usual: Mapping[str, tuple[str, ...]], columns: Mapping[str, str], shape: str) -> None:
        """Raises StudyError if `columns` names one that the shape does not have."""
        known = {**usual, "id": IDS, "language": LANGUAGES}
        if unknown := sorted(set(columns) - set(known)):
            raise StudyError(f"columns.{unknown[0]}: unknown; shape {shape} has {', '.join(known)}")
        self.names = {column: (columns[column],) if column in columns else names for column, names in known.items()}

    def get(self, record: Any, column: str) -> Any:
        """The value of a column, None if the record has none."""
        if not isinstance(record, dict):
            return None
        return next((record[name] for name in self.names[column] if record.get(name) is not None), None)

    def text(self, record: Any, column: str) -> str | None:
        """The value of a column if it is a text."""
        value = self.get(record, column)
        return value if isinstance(value, str) else None

    def wanted(self, *columns: str) -> str:
        """What must be there, for an error: each column by its names."""
        return " and ".join(" or ".join(self.names[column]) for column in columns)

    def identity(self, record: Any, number: int) -> str:
        """The record's own id, else its number."""
        found = self.get(record, "id")
        return str(found) if isinstance(found, str | int) and found != "" else f"record{number}"

    def is_foreign(self, record: Any) -> bool:
        """Whether the record itself says that it is in another language than English."""
        language = (self.text(record, "language") or "").lower()
        return language not in ("", "unknown") and not language.startswith("en")


IDS = ("id", "conversation_id", "message_tree_id", "prompt_id", "question_id", "task_id", "doc_id", "_id")
LANGUAGES = ("language", "lang")


def sift(
    records: Iterable[Any],
    texts_of: Callable[[Any, Counter[str]], Texts | str],
    make: Callable[[str, Texts], Item],
    fields: Fields,
    english_only: bool,
    name: str,
    expected: str,
    found: Callable[[Any], str] | None = None,
    fewest_words: int = 0,
) -> Sifted[Item]:
    """Keep what `texts_of` finds texts in, unless it is not English or the same texts came before.

    `texts_of` returns a record's texts, or the reason why there are none (MISSING if the record lacks
    its columns), and counts what it changes; `make` makes the item of an id and texts. Raises
    StudyError, naming `name`, if no record has the columns (what there is instead, by `found`, and
    what was `expected`), or nothing is left. For `fewest_words` see `is_english`.
    """
    sifted: Sifted[Item] = Sifted()
    seen: set[Texts] = set()
    ids: Counter[str] = Counter()
    first: Any = None
    for number, record in enumerate(records):
        sifted.read += 1
        first = record if number == 0 else first
        texts = texts_of(record, sifted.changed)
        if isinstance(texts, str):
            sifted.dropped[texts] += 1
        elif english_only and (fields.is_foreign(record) or not is_english(" ".join(texts), fewest_words)):
            sifted.dropped["not English"] += 1
        elif texts in seen:
            sifted.dropped["duplicate"] += 1
        else:
            seen.add(texts)
            identity = fields.identity(record, number)
            unique = identity
            while unique in ids:
                ids[identity] += 1
                unique = f"{identity}#{ids[identity]}"
            ids[unique] += 1
            sifted.items.append(make(unique, texts))
    if not sifted.read:
        raise StudyError(f"{name}: no records")
    if sifted.dropped[MISSING] == sifted.read:
        raise StudyError(f"{name}: {(found or fields_found)(first)}, expected {expected}")
    if not sifted.items:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sifted.dropped.most_common())
        advice = "".join(
            f"; {REMEDIES[start]}" for start in REMEDIES if any(r.startswith(start) for r in sifted.dropped)
        )
        raise StudyError(f"{name}: empty after cleaning: {sifted.read} records read, {reasons}{advice}")
    return sifted


def fields_found(record: Any) -> str:
    """What a record holds, for an error message."""
    if not isinstance(record, dict):
        return f"records are of type {type(record).__name__}"
    return f"records have the fields {', '.join(map(str, record)) or 'none'}"
