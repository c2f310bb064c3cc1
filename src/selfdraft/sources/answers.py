"""A conversation -> tokens and a mask of its answers, through character positions in the rendered text."""

from bisect import bisect_left

from selfdraft.errors import StudyError
from selfdraft.sources.chat import ChatTokenizer, Message

# Private-use characters stand for the turns' texts while the template alone is rendered.
OPEN, CLOSE = "\ue000", "\ue001"


class AnswerMask:
    """Renders conversations with one tokenizer and says which of their tokens are answers."""

    def __init__(self, chat: ChatTokenizer) -> None:
        self.chat = chat
        self._frames: dict[tuple[str, ...], list[str]] = {}

    def tokens(self, messages: list[Message]) -> tuple[list[int], list[int]]:
        """Token ids and mask of a whole conversation, equal in length.

        The mask is 1 on the tokens that begin inside an answer's text, and on the end-of-turn token
        behind it: what the target would have generated. Raises StudyError if the template changes
        the turns' text, so that their place is not known.
        """
        text, spans = self.place(messages)
        encoding = self.chat.encoding(text)
        ids = list(encoding.ids)
        begins = [first for first, _ in encoding.offsets]
        mask = [0] * len(ids)
        for start, end in spans:
            first, behind = bisect_left(begins, start), bisect_left(begins, end)
            mask[first:behind] = [1] * (behind - first)
            if behind < len(ids) and ids[behind] in self.chat.eos_ids:
                mask[behind] = 1
        return ids, mask

    def place(self, messages: list[Message]) -> tuple[str, list[tuple[int, int]]]:
        """The rendered text, and first and last + 1 character of each answer's text in it."""
        frame = self.frame([message["role"] for message in messages])
        text, spans = frame[0], []
        for message, behind in zip(messages, frame[1:], strict=True):
            if message["role"] == "assistant":
                spans.append((len(text), len(text) + len(message["content"])))
            text += message["content"] + behind
        if text != self.chat.render(messages):
            raise StudyError(f"{self.chat.name}: changes the text of turns, so answers cannot be told from the rest")
        return text, spans

    def frame(self, roles: list[str]) -> list[str]:
        """What the template writes before, between and behind turns of these roles, [turns + 1] pieces."""
        key = tuple(roles)
        if key not in self._frames:
            marks = [f"{OPEN}{turn}{CLOSE}" for turn in range(len(roles))]
            rest = self.chat.render([{"role": role, "content": mark} for role, mark in zip(roles, marks, strict=True)])
            pieces = []
            for mark in marks:
                piece, found, rest = rest.partition(mark)
                if not found:
                    raise StudyError(f"{self.chat.name}: leaves out turns of a conversation")
                pieces.append(piece)
            self._frames[key] = [*pieces, rest]
        return self._frames[key]
