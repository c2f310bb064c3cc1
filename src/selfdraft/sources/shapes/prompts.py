"""Shape `prompts`: questions without answers (MT-Bench, HumanEval, Spec-Bench); no sequences."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from selfdraft.sources.chat import TemplateError
from selfdraft.sources.plain_text import clean_plain
from selfdraft.sources.shapes.shape import Making, Row
from selfdraft.sources.sifting import MISSING, Fields, Sifted, Texts, sift
from selfdraft.sources.turns import COLUMNS as TURN_COLUMNS
from selfdraft.sources.turns import role_of, text_of

COLUMNS = {
    "prompt": ("turns", "prompt", "question", "instruction", "messages", "conversation", "conversations"),
    "input": ("input",),
    "entry_point": ("entry_point",),
}
TURN = Fields(TURN_COLUMNS, {}, "prompts")
FEWEST_WORDS = 12  # of a question whose language can be told: "x + y = 4z, express y in z" is no Spanish
CODE_INSTRUCTION = "Complete this Python function. Answer with the whole function."


@dataclass(frozen=True)
class Question:
    """What a user asks; `id` is unique among the kept ones."""

    id: str
    text: str


class Prompts:
    """Through the chat template, as a first turn."""

    item_name, sequence_name = "prompts", "sequences"
    has_sequences = False

    def __init__(self, making: Making) -> None:
        self.making = making
        self.fields = Fields(COLUMNS, making.columns, "prompts")

    def clean(self, records: Iterable[Any], name: str) -> Sifted[Question]:
        """By the rules of `plain_text`; code to be completed (HumanEval) gets an instruction around it."""
        special = self.making.chat.special_tokens

        def texts_of(record: Any, changed: Counter[str]) -> Texts | str:
            raw = first_turn(self.fields.get(record, "prompt"))
            if raw is None:
                return MISSING
            more = self.fields.text(record, "input")
            text = clean_plain(f"{raw}\n\n{more}" if more else raw, special, changed)
            if text and self.fields.text(record, "entry_point"):
                text = f"{CODE_INSTRUCTION}\n\n```python\n{text}\n```"
            return (text,) if text else "empty"

        def question(identity: str, texts: Texts) -> Question:
            return Question(identity, texts[0])

        wanted = self.fields.wanted("prompt")
        english_only = self.making.english_only
        return sift(records, texts_of, question, self.fields, english_only, name, wanted, fewest_words=FEWEST_WORDS)

    def origins(self, items: Sequence[Question]) -> list[str]:
        """Each question its own."""
        return [item.id for item in items]

    def sequences(self, item: Question) -> list[Row]:
        """None: there is no answer to learn from."""
        return []

    def prompt(self, item: Question, fewest: int, most: int) -> tuple[list[int], str] | None:
        """The question through the template, if its length is right; it is never cut."""
        try:
            text = self.making.chat.render([{"role": "user", "content": item.text}], add_generation_prompt=True)
        except TemplateError:
            return None
        tokens = self.making.chat.encode(text)
        return (tokens, text) if fewest <= len(tokens) <= most else None


def first_turn(value: Any) -> str | None:
    """What a user says first of several turns, or the one text: as texts, or as messages of a role."""
    if isinstance(value, list) and value:
        value = next((turn for turn in value if not isinstance(turn, dict) or role_of(who(turn), {}) == "user"), None)
    if isinstance(value, dict):
        text, foreign = text_of(TURN.get(value, "text"))
        value = None if foreign else text
    return value if isinstance(value, str) else None


def who(turn: dict[str, Any]) -> str:
    """Who says a turn; a turn without a role is the user's."""
    role = TURN.get(turn, "role")
    return role if isinstance(role, str) else "user" if role is None else ""
