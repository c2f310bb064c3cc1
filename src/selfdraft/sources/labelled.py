"""Text for people with its labels told apart: green on a terminal, in brackets elsewhere."""

import sys
from collections.abc import Sequence
from itertools import groupby

from selfdraft.sources.answers import AnswerMask
from selfdraft.sources.chat import ChatTokenizer, Message

LABEL, END = "\x1b[32m", "\x1b[0m"


def coloured(said: str, label: bool) -> str:
    """`said`, marked if it is a label."""
    if not label:
        return said
    return f"{LABEL}{said}{END}" if sys.stdout.isatty() else f"[{said}]"


def labelled_chat(chat: ChatTokenizer, messages: Sequence[Message]) -> str:
    """A conversation as the model reads it, control tokens and all, its labels marked.

    Raises TemplateError if the template refuses or changes it.
    """
    ids, mask = AnswerMask(chat).tokens(list(messages))
    runs = groupby(zip(ids, mask, strict=True), key=lambda pair: pair[1])
    return "".join(coloured(chat.decode([token for token, _ in run]), bool(label)) for label, run in runs)
