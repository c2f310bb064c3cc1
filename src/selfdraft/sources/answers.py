"""A conversation -> tokens and a mask of its answers, through character positions in the rendered text."""

from bisect import bisect_left
from collections.abc import Callable
from typing import TypeVar

from selfdraft.errors import StudyError
from selfdraft.sources.chat import ChatTokenizer, Message, TemplateError
from selfdraft.sources.sifting import Sifted

Item = TypeVar("Item")

# Private-use characters stand for the turns' texts while the template alone is rendered.
OPEN, CLOSE = "\ue000", "\ue001"


class AnswerMask:
    """Renders conversations with one tokenizer and says which of their tokens are answers."""

    def __init__(self, chat: ChatTokenizer) -> None:
        self.chat = chat
        self._frames: dict[tuple[str, ...], list[str]] = {}

    def tokens(self, messages: list[Message]) -> tuple[list[int], list[int]]:
        """Token ids and mask of a whole conversation, equal in length.

        The mask is 1 on what the target would have generated: the tokens that begin inside an answer's text,
        and the end-of-turn token behind it, with the white space before it if there is any (Llama 2's " </s>").
        Where the template itself marks answers (`{% generation %}`), its marks say which text that is.
        Raises TemplateError if the template changes the turns' text, so that their place is not known.
        """
        text, spans = self.chat.marked(messages) if self.chat.marks_answers else self.place(messages)
        encoding = self.chat.encoding(text)
        ids = list(encoding.ids)
        begins = [first for first, _ in encoding.offsets]
        mask = [0] * len(ids)
        for start, end in spans:
            first, behind = bisect_left(begins, start), bisect_left(begins, end)
            mask[first:behind] = [1] * (behind - first)
            last = behind
            while (
                last < len(ids)
                and ids[last] not in self.chat.eos_ids
                and text[slice(*encoding.offsets[last])].isspace()
            ):
                last += 1
            if last < len(ids) and ids[last] in self.chat.eos_ids:
                mask[behind : last + 1] = [1] * (last + 1 - behind)
        return ids, mask

    def unfit(self, messages: list[Message]) -> str:
        """Why this one conversation has no mask: refused or changed by the template; empty if it has one."""
        try:
            _ = self.chat.marked(messages) if self.chat.marks_answers else self.place(messages)
        except TemplateError as error:
            return error.reason
        return ""

    def place(self, messages: list[Message]) -> tuple[str, list[tuple[int, int]]]:
        """The rendered text, and first and last + 1 character of each answer's text in it."""
        frame = self.frame([message["role"] for message in messages])
        text, spans = frame[0], []
        for message, behind in zip(messages, frame[1:], strict=True):
            if message["role"] == "assistant":
                spans.append((len(text), len(text) + len(message["content"])))
            text += message["content"] + behind
        if text != self.chat.render(messages):
            raise TemplateError(
                f"{self.chat.name}: changes the text of turns, so answers cannot be told from the rest",
                "changed by the chat template",
            )
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
                    raise TemplateError(
                        f"{self.chat.name}: leaves out turns of a conversation", "shortened by the chat template"
                    )
                pieces.append(piece)
            self._frames[key] = [*pieces, rest]
        return self._frames[key]


def without_unfit(
    sifted: Sifted[Item], masker: AnswerMask, messages_of: Callable[[Item], list[Message]], name: str
) -> Sifted[Item]:
    """`sifted` without the items that the template refuses or changes, which are counted as dropped by reason.

    Raises StudyError, naming `name`, if none is left.
    """
    kept = []
    for item in sifted.items:
        if reason := masker.unfit(messages_of(item)):
            sifted.dropped[reason] += 1
        else:
            kept.append(item)
    if not kept:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sifted.dropped.most_common())
        raise StudyError(f"{name}: nothing is left: {sifted.read} records read, {reasons} ({masker.chat.name})")
    sifted.items = kept
    return sifted
