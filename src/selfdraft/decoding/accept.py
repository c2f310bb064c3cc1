"""The accept/reject rule: whatever was drafted, what comes out is distributed as the target's own sample.

Leviathan et al. 2023 (Theorem 3.5) and Chen et al. 2023: accept a draft token x with probability
min(1, p(x)/q(x)); at the first rejection draw from norm(max(0, p - q)); if all are accepted draw a bonus
token from p. p is the target's *warped* distribution, q the one that x was really drawn from. Greedy
decoding is the case of a p with all mass on one token, not a path of its own.
"""

import torch
from torch import Tensor

from selfdraft.decoding.policy import sample


def accept(
    p: Tensor, tokens: Tensor, q: Tensor | None, generator: torch.Generator, lengths: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Decide on drafted tokens, each row of a batch for itself.

    Args:
        p: target's warped probabilities, float32 `[batch, gamma + 1, vocab]`; `p[:, i]` is the
            distribution of the token that `tokens[:, i]` proposes, the last one that of the bonus.
        tokens: drafted tokens, int64 `[batch, gamma]`; gamma may be 0.
        q: probabilities that they were drawn from, `[batch, gamma, vocab]`; None if each was chosen
            deterministically (all mass on the token).
        generator: source of the uniform numbers.
        lengths: int64 `[batch]`, tokens really drafted in each row; None if all.

    Returns:
        accepted: int64 `[batch]`, drafted tokens accepted, 0 … length; the bonus is not counted.
        next_token: int64 `[batch, 1]`, the residual's or the bonus token that follows them.
    """
    batch, gamma = tokens.shape
    rows = torch.arange(batch, device=p.device)
    if gamma == 0:
        return torch.zeros(batch, dtype=torch.int64, device=p.device), sample(p[:, 0], generator)
    p_token = p[:, :gamma].gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    q_token = torch.ones_like(p_token) if q is None else q.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    uniform = torch.rand(p_token.shape, generator=generator, device=p.device, dtype=p_token.dtype)
    accepted_each = uniform * q_token < p_token
    limit = torch.full((batch,), gamma, device=p.device) if lengths is None else lengths
    accepted_each &= torch.arange(gamma, device=p.device) < limit.unsqueeze(1)
    accepted = accepted_each.long().cumprod(dim=1).sum(dim=1)

    following = p[rows, accepted]  # [batch, vocab]
    at = accepted.clamp(max=gamma - 1)
    if q is None:
        proposed = torch.zeros_like(following).scatter_(-1, tokens[rows, at].unsqueeze(1), 1.0)
    else:
        proposed = q[rows, at]
    residual = (following - proposed).clamp_(min=0)
    # p = q up to rounding leaves nothing over: a rejection then has probability zero up to rounding too.
    rejected = (accepted < limit) & (residual.sum(-1) > 0)
    return accepted, sample(torch.where(rejected.unsqueeze(1), residual, following), generator)


def overlap(p: Tensor, tokens: Tensor, q: Tensor | None, lengths: Tensor | None = None) -> Tensor:
    """Σ_v min(p, q) at each drafted position, `[batch, gamma]`: the chance that its token is accepted.

    Zero at positions that were not drafted (beyond `lengths`).
    """
    gamma = tokens.shape[1]
    if q is None:
        found = p[:, :gamma].gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    else:
        found = torch.minimum(p[:, :gamma], q).sum(-1)
    if lengths is None:
        return found
    return found * (torch.arange(gamma, device=p.device) < lengths.unsqueeze(1))
