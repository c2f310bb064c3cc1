"""Drafting token by token, for every drafter that computes logits: draw, note q, stop when unsure."""

from collections.abc import Callable

import torch
from torch import Tensor

from selfdraft.decoding.drafter import Draft
from selfdraft.decoding.policy import Policy
from selfdraft.decoding.session import Session
from selfdraft.decoding.stopping import Stopping

# (token [batch, 1], position in the draft) -> logits [batch, vocab] of the token that follows
NextLogits = Callable[[Tensor, int], Tensor]
# tokens and q in the drafter's vocabulary -> the same in the target's
ToTarget = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor | None]]


def draft_token_by_token(
    session: Session,
    gamma: int,
    policy: Policy,
    generator: torch.Generator,
    stopping: Stopping | None,
    next_logits: NextLogits,
    to_target: ToTarget | None = None,
) -> Draft:
    """At most `gamma` tokens a row; with `stopping`, drafting ends when every row has become unsure."""
    tokens: list[Tensor] = []
    drawn_from: list[Tensor] = []
    token = session.pending
    going = torch.ones(session.batch, dtype=torch.bool, device=token.device)
    lengths = torch.zeros(session.batch, dtype=torch.int64, device=token.device)
    for position in range(gamma):
        logits = next_logits(token, position)
        token, q = policy.draw(logits, generator)
        if to_target is not None:
            token, q = to_target(token, q)
        tokens.append(token)
        if q is not None:
            drawn_from.append(q)
        if stopping is not None:
            lengths += going
            going &= ~stopping.unsure(logits)
            if not going.any():
                break
    return Draft(
        torch.cat(tokens, dim=1),
        torch.stack(drawn_from, dim=1) if drawn_from else None,
        lengths if stopping is not None else None,
    )
