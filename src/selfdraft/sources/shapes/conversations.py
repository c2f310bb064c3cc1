"""Shape `conversations`: chats of several turns; the labels are the answers' tokens."""

from collections.abc import Iterable, Sequence
from typing import Any

from selfdraft.sources.answers import AnswerMask, without_unfit
from selfdraft.sources.chat import TemplateError
from selfdraft.sources.cleaning import Conversation, clean_records
from selfdraft.sources.origins import origins_of
from selfdraft.sources.shapes.shape import Making, Row
from selfdraft.sources.sifting import Sifted


class Conversations:
    """Through the chat template; longer ones are cut at sequence_length."""

    item_name, sequence_name = "conversations", "conversations"
    has_sequences = True

    def __init__(self, making: Making) -> None:
        self.making = making
        self.masker = AnswerMask(making.chat)

    def clean(self, records: Iterable[Any], name: str) -> Sifted[Conversation]:
        """By the rules of `cleaning`; without those that the template refuses or changes."""
        making = self.making
        special = making.chat.special_tokens
        sifted = clean_records(records, special, making.english_only, name, making.columns, making.roles)
        return without_unfit(sifted, self.masker, lambda item: list(item.messages), name)

    def origins(self, items: Sequence[Conversation]) -> list[str]:
        """One for all pieces of a chat, and for chats that share a long exchange."""
        return origins_of(items)

    def sequences(self, item: Conversation) -> list[Row]:
        """One sequence, unless the answer begins behind sequence_length."""
        tokens, mask = self.masker.tokens(list(item.messages))
        length = self.making.sequence_length
        return [(tokens[:length], mask[:length])] if any(mask[:length]) else []

    def prompt(self, item: Conversation, fewest: int, most: int) -> tuple[list[int], str] | None:
        """The conversation up to where an answer begins: the first such text that is long enough."""
        for turn in range(1, len(item.messages), 2):
            try:
                text = self.making.chat.render(list(item.messages[:turn]), add_generation_prompt=True)
            except TemplateError:
                continue
            tokens = self.making.chat.encode(text)
            if len(tokens) > most:
                return None
            if len(tokens) >= fewest:
                return tokens, text
        return None
