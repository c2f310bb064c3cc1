"""Shape `summaries`: a document with its summary, as one question and one answer."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from selfdraft.sources.answers import AnswerMask, without_unfit
from selfdraft.sources.chat import Message
from selfdraft.sources.origins import joined
from selfdraft.sources.plain_text import clean_plain
from selfdraft.sources.shapes.shape import Making, Row
from selfdraft.sources.sifting import MISSING, Fields, Sifted, Texts, sift

INSTRUCTION = "Summarize the following text in a few sentences."
COLUMNS = {
    "document": ("document", "article", "dialogue", "text", "report"),
    "summary": ("summary", "highlights", "abstract"),
}


@dataclass(frozen=True)
class Summary:
    """A document and what it is about; `id` is unique among the kept ones."""

    id: str
    document: str
    summary: str

    def question(self, document: str) -> Message:
        """What the user says about the document, or about its beginning."""
        return {"role": "user", "content": f"{INSTRUCTION}\n\n{document}"}


class Summaries:
    """Through the chat template; a document gives way where it and its summary do not fit together."""

    item_name, sequence_name = "conversations", "conversations"
    has_sequences = True

    def __init__(self, making: Making) -> None:
        self.making = making
        self.masker = AnswerMask(making.chat)
        self.fields = Fields(COLUMNS, making.columns, "summaries")

    def clean(self, records: Iterable[Any], name: str) -> Sifted[Summary]:
        """By the rules of `plain_text`; a record without one of the two texts is dropped."""
        special = self.making.chat.special_tokens

        def texts_of(record: Any, changed: Counter[str]) -> Texts | str:
            raw = [self.fields.text(record, column) for column in COLUMNS]
            if None in raw:
                return MISSING
            texts = tuple(clean_plain(text or "", special, changed) for text in raw)
            return texts if all(texts) else "no document with a summary"

        def summary(identity: str, texts: Texts) -> Summary:
            return Summary(identity, *texts)

        wanted = self.fields.wanted("document", "summary")
        sifted = sift(records, texts_of, summary, self.fields, self.making.english_only, name, wanted)
        return without_unfit(sifted, self.masker, self.messages, name)

    def messages(self, item: Summary) -> list[Message]:
        """The whole document and its summary as a chat."""
        return [item.question(item.document), {"role": "assistant", "content": item.summary}]

    def origins(self, items: Sequence[Summary]) -> list[str]:
        """One for all summaries of the same document."""
        return joined([item.id for item in items], [[item.document] for item in items])

    def sequences(self, item: Summary) -> list[Row]:
        """One sequence, its whole summary in it; none if the summary leaves no room for a document."""

        def tokens_of(document: str) -> Row:
            return self.masker.tokens([item.question(document), {"role": "assistant", "content": item.summary}])

        fitting = self.fitted(item.document, self.making.sequence_length, lambda text: len(tokens_of(text)[0]))
        return [tokens_of(fitting)] if fitting else []

    def prompt(self, item: Summary, fewest: int, most: int) -> tuple[list[int], str] | None:
        """The question alone, its document shortened to fit."""
        chat = self.making.chat

        def prompt_of(document: str) -> str:
            return chat.render([item.question(document)], add_generation_prompt=True)

        fitting = self.fitted(item.document, most, lambda text: len(chat.encode(prompt_of(text))))
        if not fitting:
            return None
        text = prompt_of(fitting)
        tokens = chat.encode(text)
        return (tokens, text) if len(tokens) >= fewest else None

    def fitted(self, document: str, limit: int, length_of: Callable[[str], int]) -> str:
        """The longest beginning of a document, by whole tokens, whose `length_of` is at most `limit`; or nothing."""
        over = length_of(document) - limit
        if over <= 0:
            return document
        self.making.changed["document shortened"] += 1
        offsets = self.making.chat.encoding(document).offsets
        count = len(offsets) - over
        while count > 0:
            beginning = document[: offsets[count - 1][1]].rstrip()
            over = length_of(beginning) - limit
            if over <= 0:
                return beginning
            count -= over
        return ""
