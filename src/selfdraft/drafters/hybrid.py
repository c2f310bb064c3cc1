"""Lookup where the text repeats itself, else another drafter: what costs nothing is tried first."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from selfdraft.decoding.drafter import Draft, Drafter
from selfdraft.decoding.drafting import Drafting, Tree
from selfdraft.decoding.outcome import Outcome
from selfdraft.decoding.policy import Policy
from selfdraft.decoding.session import Session
from selfdraft.decoding.upload import uploaded
from selfdraft.drafters.lookup import LookupDrafter
from selfdraft.errors import StudyError
from selfdraft.models.llama import Llama

SETTINGS = {
    "lookup": {
        "description": "How lookup matches.",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "max_ngram": {"description": "Longest n-gram that matches (4).", "type": "integer", "minimum": 1},
            "min_ngram": {
                "description": "Shortest n-gram that matches: chance repeats single tokens (2).",
                "type": "integer",
                "minimum": 1,
            },
        },
    },
    "drafter": {
        "description": "Name of the entry of `drafters` that drafts where lookup finds nothing.",
        "type": "string",
    },
    "most": {
        "description": "Longest draft of that drafter; lookup's are of gamma tokens (gamma).",
        "type": "integer",
        "minimum": 1,
    },
}
REQUIRED = ("drafter",)
LOOKUP = {"max_ngram": 4, "min_ngram": 2}


def build(
    name: str, settings: Mapping[str, Any], target: Llama, drafting: Drafting, kept_ids: Tensor | None
) -> "HybridDrafter":
    """See `drafter_of`; ways of drafting are the other drafter's. Raises StudyError as that does."""
    from selfdraft.drafters import drafter_of

    other = settings["drafter"]
    if not isinstance(other, Mapping) or other.get("kind") in ("hybrid", "lookup"):
        raise StudyError(f"drafters.{name}.drafter: found {other!r}, the settings of a drafter with a model are right")
    learned = drafter_of(f"{name}.drafter", other, target, drafting, kept_ids)
    return HybridDrafter(
        lookup_of(settings.get("lookup", {}), f"drafters.{name}.lookup"), learned, settings.get("most")
    )


def lookup_of(settings: Any, where: str) -> LookupDrafter:
    """The lookup of a hybrid's settings. Raises StudyError naming `where` for an unknown or a wrong one."""
    if not isinstance(settings, Mapping) or set(settings) - set(LOOKUP):
        raise StudyError(f"{where}: found {settings!r}, settings among {', '.join(LOOKUP)} are right")
    try:
        return LookupDrafter(**(LOOKUP | dict(settings)))
    except StudyError as error:
        raise StudyError(f"{where}.{error}") from None


class HybridDrafter:
    """Lookup for what finds something in its text, the other drafter for the rest.

    Each row of a batch for itself, if the other drafter drafts chains and has its rows apart (it knows verified tokens
    alone, see Eagle3Drafter); else one of both drafts for all rows: lookup, if it finds something for every row that
    goes on.
    Who drafts depends on verified tokens alone, and each says what it drew from: the output stays the target's. The
    other drafter hears of all cycles, and catches up with those that lookup drafted.
    """

    def __init__(self, lookup: LookupDrafter, drafter: Drafter, most: int | None = None) -> None:
        """`most` tokens at most are drafted by `drafter`, None for as many as the loop asks for."""
        if most is not None and most < 1:
            raise StudyError(f"most: {most} is not ≥ 1")
        self.lookup, self.drafter, self.most = lookup, drafter, most
        self.depths, self.learns = drafter.depths, drafter.learns
        self._apart = bool(getattr(drafter, "rows_apart", False))
        self.tree: Tree | None = getattr(drafter, "tree", None)
        self._going: list[bool] = []

    @property
    def parts(self) -> dict[str, Drafter]:
        """What drafts, by the step that it takes (`selfdraft steps`)."""
        return {"lookup": self.lookup, "draft": self.drafter}

    def start(self, session: Session) -> None:
        self._going = [True] * session.batch
        self.lookup.start(session)
        self.drafter.start(session)

    def draft(self, session: Session, gamma: int, policy: Policy, generator: torch.Generator) -> Draft:
        found = self.lookup.proposals(session, gamma)
        if all(proposal for proposal, goes in zip(found, self._going, strict=True) if goes):
            return replace(Draft.of_lists(found, session.pending.device), looked_up=[True] * len(found))
        draft = self.drafter.draft(session, min(gamma, self.most or gamma), policy, generator)
        return replaced(draft, found) if self._apart and any(found) and draft.parents is None else draft

    def observe(self, outcome: Outcome) -> None:
        self._going = [bool(tokens) for tokens in outcome.tokens]
        self.lookup.observe(outcome)
        self.drafter.observe(outcome)


def replaced(draft: Draft, found: list[list[int]]) -> Draft:
    """The draft with the rows for which there is something in `found`, chosen without chance, in place of its own."""
    rows, width = draft.tokens.shape
    device, longest = draft.tokens.device, max(width, *map(len, found))
    own = [width] * rows if draft.lengths is None else draft.lengths.tolist()
    from_text = [bool(proposal) for proposal in found]
    theirs = uploaded(from_text, device).bool()
    filled = [proposal + [0] * (longest - len(proposal)) for proposal in found]
    tokens = torch.where(theirs.unsqueeze(1), uploaded(filled, device), F.pad(draft.tokens, (0, longest - width)))
    lengths = uploaded([len(proposal) or mine for proposal, mine in zip(found, own, strict=True)], device)
    if draft.q is None:
        return Draft(tokens, None, lengths, looked_up=from_text)
    certain = torch.zeros((rows, longest, draft.q.shape[-1]), dtype=draft.q.dtype, device=device)
    certain.scatter_(-1, tokens.unsqueeze(-1), 1.0)  # all mass on what lookup proposes
    q = torch.where(theirs.view(-1, 1, 1), certain, F.pad(draft.q, (0, 0, 0, longest - width)))
    return Draft(tokens, q, lengths, looked_up=from_text)
