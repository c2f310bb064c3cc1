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
# () -> the chance [batch], float32, that a token drawn from the last logits is accepted
Chance = Callable[[], Tensor]


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
    chance: Chance | None = None,
) -> Draft:
    """At most `gamma` tokens a row.

    With `pace`, as many as the last cycles suggest, the very last being `decided`; with `stopping`, drafting ends
    when every row has become unsure. `kept_ids` are the target's ids of a trimmed head's rows. With `chance`, of a
    drafter that predicts it, `stopping` goes by it, and `pace` says only whether to draft: a row's draft then ends
    where one more token is not worth its cost.
    """
    least: float | None = None
    if pace is not None:
        length = pace.length(gamma, decided)
        if length == 0:
            return Draft(session.pending[:, :0])
        if chance is None:
            gamma = length
        else:
            least = pace.least(gamma)
    tokens: list[Tensor] = []
    drawn_from: list[Tensor] = []
    token = session.pending
    going = torch.ones(session.batch, dtype=torch.bool, device=token.device)
    lengths = torch.zeros(session.batch, dtype=torch.int64, device=token.device)
    reached: Tensor | None = None  # [batch]: the chance that all of a row's tokens so far are accepted
    for position in range(gamma):
        logits = next_logits(token, position)
        token, q = policy.draw(logits, generator)
        if kept_ids is not None:
            token, q = to_target_ids(kept_ids, token, q, session.target.config.vocab_size)
        tokens.append(token)
        if q is not None:
            drawn_from.append(q)
        if stopping is not None or least is not None:
            lengths += going
            told = None if chance is None else chance()
            if stopping is not None:
                going &= ~stopping.unsure(logits, told)
            if least is not None and told is not None:
                reached = told if reached is None else reached * told
                going &= reached > least
            session.waits += 1  # whether to go on is the host's decision
            if not going.any():
                break
    return Draft(
        torch.cat(tokens, dim=1),
        torch.stack(drawn_from, dim=1) if drawn_from else None,
        lengths if stopping is not None or least is not None else None,
    )
