"""What was asked in a conversation of tokens: the pieces between its answers."""

from collections.abc import Sequence
from itertools import pairwise

from selfdraft.errors import StudyError
from selfdraft.sequences import Sequences


def questions_of(tokens: Sequence[int], mask: Sequence[int]) -> list[list[int]]:
    """The tokens before each answer that no earlier answer holds; `mask` is 1 on answers.

    The last one ends with the template's generation prompt, as the first does. What follows the last answer asks
    nothing.
    """
    found: list[list[int]] = []
    piece: list[int] = []
    for token, answer in zip(tokens, mask, strict=True):
        if not answer:
            piece.append(token)
        elif piece:
            found.append(piece)
            piece = []
    return found


def conversations(sequences: Sequences, where: str) -> list[list[list[int]]]:
    """The questions of each conversation of a split.

    Raises StudyError, naming `where`, if all that was asked is single tokens: plain text has no questions.
    """
    bounds = sequences.offsets.tolist()
    found = [
        questions_of(sequences.tokens[begin:end].tolist(), sequences.mask[begin:end].tolist())
        for begin, end in pairwise(bounds)
    ]
    if all(len(question) < 2 for asked in found for question in asked):
        raise StudyError(f"{where}: nothing is asked there; answers can be regenerated for conversations, not for text")
    return found
