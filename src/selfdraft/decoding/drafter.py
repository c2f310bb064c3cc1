"""What the loop asks of a drafter: propose tokens for each row, say what they were drawn from, hear what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from selfdraft.decoding.drafting import Tree
from selfdraft.decoding.outcome import Outcome
from selfdraft.decoding.policy import Policy
from selfdraft.decoding.session import Session
from selfdraft.decoding.upload import uploaded


@dataclass
class Draft:
    """Proposed tokens, and the distributions that they were really drawn from.

    tokens: int64 `[batch, gamma]`. q: float32 `[batch, gamma, vocab]`, None if each token was chosen
    deterministically (all mass on it). lengths: int64 `[batch]`, how many of a row's tokens count;
    None if all do. The rest is filler that the loop never accepts.

    A draft may branch: `parents [batch, gamma]` is then the place of each token's parent in the draft, before its
    own, -1 for a token that follows the pending one. Siblings are tried in their order; q is what each was drawn from
    once those before it were drawn (without replacement: without them, renormalised). Filler has parents too (-1).
    Without parents the draft is a chain.

    looked_up: of a drafter that first looks for a draft in the text, for which rows it found one there, at next to no
    cost; None of all others.

    exit_layers: of a drafter with several heads, for each row the layers of the heads that its tokens left at, as many
    as count at least; None of all others.
    """

    tokens: Tensor
    q: Tensor | None = None
    lengths: Tensor | None = None
    parents: Tensor | None = None
    looked_up: Sequence[bool] | None = None
    exit_layers: Sequence[Sequence[int]] | None = None

    @classmethod
    def of_lists(cls, proposals: list[list[int]], device: torch.device) -> "Draft":
        """Of tokens chosen deterministically, a list for each row, which may be of any length."""
        longest = max(map(len, proposals))
        filled = [proposal + [0] * (longest - len(proposal)) for proposal in proposals]
        tokens = uploaded(filled, device).view(len(proposals), longest)
        return cls(tokens, lengths=uploaded([len(proposal) for proposal in proposals], device))


class Drafter(Protocol):
    """Proposes tokens; never writes to the target's cache but through the session (`extend`, `deepen`).

    One that drafts trees has an attribute `tree`, a `Tree`, so that there is room for them.

    Attributes:
        depths: depths of the target whose states of verified tokens it wants to have, none for most.
        learns: whether it learns from outcomes: `observe` then gets copies, and runs outside inference mode.
    """

    depths: tuple[int, ...]
    learns: bool

    def start(self, session: Session) -> None:
        """Called once after the prefill."""

    def draft(self, session: Session, gamma: int, policy: Policy, generator: torch.Generator) -> Draft:
        """Propose at most `gamma` tokens to follow each row's pending one."""

    def observe(self, outcome: Outcome) -> None:
        """Called once after each verification, whoever drafted."""


def widest(drafter: Drafter, gamma: int) -> int:
    """Slots of a KV cache that a draft of `gamma` may take behind the pending token: of a chain gamma."""
    tree: Tree | None = getattr(drafter, "tree", None)
    return gamma if tree is None else tree.slots(gamma)
