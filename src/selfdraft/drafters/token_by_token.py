"""Drafting token by token, for every drafter that computes logits: draw, note q, stop when unsure."""

from collections.abc import Callable

import torch
from torch import Tensor

from selfdraft.decoding.drafter import Draft
from selfdraft.decoding.pace import Pace
from selfdraft.decoding.policy import Policy
from selfdraft.decoding.session import Session
from selfdraft.decoding.stopping import Stopping
from selfdraft.models.vocabulary import to_target_ids

# (token [batch, 1], position in the draft) -> logits [batch, vocab] of the token that follows
NextLogits = Callable[[Tensor, int], Tensor]


def draft_token_by_token(
    session: Session,
    gamma: int,
    policy: Policy,
    generator: torch.Generator,
    next_logits: NextLogits,
    decided: list[tuple[int, int]],
    stopping: Stopping | None = None,
    pace: Pace | None = None,
    kept_ids: Tensor | None = None,
) -> Draft:
    """At most `gamma` tokens a row.

    With `pace`, as many as the last cycles suggest, the very last being `decided`; with `stopping`, drafting ends
    when every row has become unsure. `kept_ids` are the target's ids of a trimmed head's rows.
    """
    if pace is not None:
        gamma = pace.length(gamma, decided)
        if gamma == 0:
            return Draft(session.pending[:, :0])
    tokens: list[Tensor] = []
    drawn_from: list[Tensor] = []
    token = session.pending
    going = torch.ones(session.batch, dtype=torch.bool, device=token.device)
    lengths = torch.zeros(session.batch, dtype=torch.int64, device=token.device)
    for position in range(gamma):
        logits = next_logits(token, position)
        token, q = policy.draw(logits, generator)
        if kept_ids is not None:
            token, q = to_target_ids(kept_ids, token, q, session.target.config.vocab_size)
        tokens.append(token)
        if q is not None:
            drawn_from.append(q)
        if stopping is not None:
            lengths += going
            going &= ~stopping.unsure(logits)
            session.waits += 1  # whether to go on is the host's decision
            if not going.any():
                break
    return Draft(
        torch.cat(tokens, dim=1),
        torch.stack(drawn_from, dim=1) if drawn_from else None,
        lengths if stopping is not None else None,
    )
