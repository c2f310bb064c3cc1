"""Shape `text`: documents without template; every token but a sequence's first is a label."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from selfdraft.sources.origins import LONG_EXCHANGE, joined
from selfdraft.sources.plain_text import clean_plain
from selfdraft.sources.shapes.shape import Making, Row
from selfdraft.sources.sifting import MISSING, Fields, Sifted, Texts, sift

COLUMNS = {"text": ("text", "content", "document", "article", "body")}
BOILERPLATE = 5  # a paragraph that more documents have says nothing of where they are from


@dataclass(frozen=True)
class Document:
    """One text; `id` is unique among the kept ones."""

    id: str
    text: str


class Text:
    """Tokens as the tokenizer gives them, after what it puts before a text itself (Llama 3's first token)."""

    item_name, sequence_name = "documents", "sequences"
    has_sequences = True

    def __init__(self, making: Making) -> None:
        self.making = making
        self.fields = Fields(COLUMNS, making.columns, "text")

    def clean(self, records: Iterable[Any], name: str) -> Sifted[Document]:
        """By the rules of `plain_text`; empty, foreign and repeated documents are dropped."""
        special = self.making.chat.special_tokens

        def texts_of(record: Any, changed: Counter[str]) -> Texts | str:
            raw = self.fields.text(record, "text")
            if raw is None:
                return MISSING
            text = clean_plain(raw, special, changed)
            return (text,) if text else "empty"

        def document(identity: str, texts: Texts) -> Document:
            return Document(identity, texts[0])

        return sift(
            records, texts_of, document, self.fields, self.making.english_only, name, self.fields.wanted("text")
        )

    def origins(self, items: Sequence[Document]) -> list[str]:
        """Each document its own, but one for documents that share a long paragraph word for word."""
        paragraphs = [{line for line in item.text.split("\n") if len(line) >= LONG_EXCHANGE} for item in items]
        documents = Counter(line for lines in paragraphs for line in lines)
        shared = [[line for line in lines if 1 < documents[line] <= BOILERPLATE] for lines in paragraphs]
        return joined([item.id for item in items], shared)

    def sequences(self, item: Document) -> list[Row]:
        """As few pieces of about equal length as sequence_length allows, in the document's order."""
        lead, tokens = self.making.chat.lead, self.making.chat.encode(item.text)
        room = max(1, self.making.sequence_length - len(lead))
        pieces = -(-len(tokens) // room)
        cuts = [len(tokens) * piece // pieces for piece in range(pieces + 1)]
        rows = [lead + tokens[start:end] for start, end in pairwise(cuts)]
        return [(row, [0] + [1] * (len(row) - 1)) for row in rows if len(row) > 1]

    def prompt(self, item: Document, fewest: int, most: int) -> tuple[list[int], str] | None:
        """The document's beginning, to be continued; its length is drawn evenly from what is possible."""
        chat = self.making.chat
        offsets = chat.encoding(item.text).offsets
        longest = min(most, len(chat.lead) + len(offsets) - 1)  # something must be left to continue with
        if longest < fewest:
            return None
        drawn = hashlib.sha256(f"{self.making.seed}/prompt length/{item.id}".encode()).digest()
        length = fewest + int.from_bytes(drawn[:8]) % (longest - fewest + 1)
        for count in range(length - len(chat.lead), 0, -1):
            text = item.text[: offsets[count - 1][1]]
            tokens = chat.lead + chat.encode(text)  # a cut may change the last tokens
            if fewest <= len(tokens) <= most:
                return tokens, chat.decode(chat.lead) + text
        return None
