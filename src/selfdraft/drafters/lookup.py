"""Prompt lookup: what followed the last few tokens the last time they stood in this very text."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from selfdraft.decoding.drafter import Draft
from selfdraft.decoding.drafting import Drafting
from selfdraft.decoding.outcome import Outcome
from selfdraft.decoding.policy import Policy
from selfdraft.decoding.session import Session
from selfdraft.errors import StudyError
from selfdraft.models.llama import Llama

SETTINGS = {
    "max_ngram": {"description": "Longest n-gram that lookup matches (3 if left out).", "type": "integer", "minimum": 1}
}


def build(
    name: str, settings: Mapping[str, Any], target: Llama, drafting: Drafting, kept_ids: Tensor | None
) -> "LookupDrafter":
    """See `drafter_of`."""
    drafting.must_be_fixed(name, "lookup")
    return LookupDrafter(settings.get("max_ngram", 3))


class LookupDrafter:
    """Proposes the continuation of the most recent earlier occurrence of the longest matching n-gram.

    Deterministic, no model: each proposal is accepted with probability p(token) (A. Saxena, prompt
    lookup decoding, 2023). Rows without a match propose nothing. The index grows by one entry per
    n-gram length and token.
    """

    depths: tuple[int, ...] = ()
    learns = False

    def __init__(self, max_ngram: int = 3, min_ngram: int = 1) -> None:
        """N-grams of `min_ngram` … `max_ngram` tokens match, the longest first."""
        for name, value in (("max_ngram", max_ngram), ("min_ngram", min_ngram)):
            if type(value) is not int or value < 1:
                raise StudyError(f"{name}: {value} is not ≥ 1")
        if min_ngram > max_ngram:
            raise StudyError(f"min_ngram: {min_ngram} is more than max_ngram, {max_ngram}")
        self.max_ngram, self.min_ngram = max_ngram, min_ngram
        self._follows: list[dict[tuple[int, ...], int]] = []
        self._indexed: list[int] = []

    def start(self, session: Session) -> None:
        self._follows = [{} for _ in range(session.batch)]
        self._indexed = [0] * session.batch

    def draft(self, session: Session, gamma: int, policy: Policy, generator: torch.Generator) -> Draft:
        return Draft.of_lists(self.proposals(session, gamma), session.pending.device)

    def proposals(self, session: Session, gamma: int) -> list[list[int]]:
        """At most `gamma` tokens for each row, none for a row without a match."""
        return [self._propose(row, text, gamma) for row, text in enumerate(session.text)]

    def observe(self, outcome: Outcome) -> None:
        """The session's text says it all."""

    def _propose(self, row: int, text: list[int], gamma: int) -> list[int]:
        follows = self._follows[row]
        # An n-gram is indexed when the token after it is known, so that the last one never finds itself.
        for end in range(max(1, self._indexed[row]), len(text)):
            for n in range(self.min_ngram, min(self.max_ngram, end) + 1):
                follows[tuple(text[end - n : end])] = end
        self._indexed[row] = len(text)
        for n in range(min(self.max_ngram, len(text)), self.min_ngram - 1, -1):
            begin = follows.get(tuple(text[-n:]))
            if begin is not None:
                return text[begin : begin + gamma]
        return []
