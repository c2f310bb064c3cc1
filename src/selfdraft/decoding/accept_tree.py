"""The accept/reject rule for drafts that branch: siblings are tried in turn, each on what the ones before left of p.

The children of a token compete for the target's distribution p behind it. The first child x is accepted with
probability min(1, p(x)/q(x)), as in a chain; if it is not, p becomes norm(max(0, p - q)), and the next child is tried
on that, with the q that it was really drawn from: of siblings drawn without replacement, q without those before it,
renormalised (SpecInfer, Miao et al. 2023; EAGLE, Li et al. 2024). Children that were chosen without chance have all
mass of their q on themselves: accepted with p(x), else x is taken out of p (EAGLE-2). Where no child is accepted the
next token is drawn from what is left of p.
"""

import torch
from torch import Tensor

from selfdraft.decoding.branches import earlier_siblings, sees
from selfdraft.decoding.policy import sample


def accept_tree(
    p: Tensor,
    tokens: Tensor,
    parents: Tensor,
    q: Tensor | None,
    generator: torch.Generator,
    lengths: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Decide on the tokens of a tree, each row of a batch for itself.

    Args:
        p: target's warped probabilities, float32 `[batch, nodes + 1, vocab]`: after the pending token, then after each
            node of the tree.
        tokens, parents: int64 `[batch, nodes]`, see `Draft`; siblings are tried in their order.
        q: what each was drawn from, `[batch, nodes, vocab]`; None if all were chosen without chance.
        generator: source of the uniform numbers.
        lengths: int64 `[batch]`, nodes of each row that count; None if all.

    Returns:
        accepted: int64 `[batch]`, length of the path that was accepted, the bonus not counted.
        next_token: int64 `[batch, 1]`, the token that follows the path.
        path: int64 `[batch, nodes]`, the places of its nodes from the first to the last; behind them filler.
    """
    batch, nodes = tokens.shape
    rows = torch.arange(batch, device=p.device)
    counts = torch.ones_like(tokens, dtype=torch.bool)
    if lengths is not None:
        counts = torch.arange(nodes, device=p.device) < lengths.unsqueeze(1)
    if q is None:
        taken = _without_chance(p, tokens, parents, generator, counts)
    else:
        taken, p = _one_by_one(p, tokens, parents, q, generator, counts)
    missed = sees(parents)[:, 1:, 1:] & ~taken.unsqueeze(1)
    on_path = ~missed.any(-1)
    accepted = on_path.long().sum(1)
    path = torch.sort((~on_path).long(), dim=1, stable=True).indices
    last = torch.where(accepted > 0, path[rows, (accepted - 1).clamp(min=0)] + 1, 0)
    following = p[rows, last]
    if q is None:  # its children were not accepted: they are out
        tried = ((parents + 1 == last.unsqueeze(1)) & counts).to(p.dtype)
        rest = following * (1 - torch.zeros_like(following).scatter_reduce_(1, tokens, tried, "amax"))
        following = torch.where(rest.sum(-1, keepdim=True) > 0, rest, following)
    return accepted, sample(following, generator), path


def _without_chance(p: Tensor, tokens: Tensor, parents: Tensor, generator: torch.Generator, counts: Tensor) -> Tensor:
    """Bool `[batch, nodes]`: which child is taken at each node, if the node itself is reached.

    One number decides between all children of a node: the child is taken in whose share of [0, 1) it falls. Accepting
    x with p(x), else taking x out of p, renormalising and going on comes to the same.
    """
    rows = torch.arange(len(p), device=p.device).unsqueeze(1)
    siblings = earlier_siblings(parents)
    again = (siblings & (tokens.unsqueeze(-1) == tokens.unsqueeze(1))).any(-1)  # out already when it is tried
    share = p[rows, parents + 1, tokens] * (counts & ~again)
    end = (siblings * share.unsqueeze(1)).sum(-1) + share
    uniform = torch.rand(p.shape[:2], generator=generator, device=p.device, dtype=p.dtype)
    within = (uniform.gather(1, parents + 1) < end) & (share > 0)
    return within & ~(siblings & within.unsqueeze(1)).any(-1)


def _one_by_one(
    p: Tensor, tokens: Tensor, parents: Tensor, q: Tensor, generator: torch.Generator, counts: Tensor
) -> tuple[Tensor, Tensor]:
    """Which child is taken at each node, and what its children left of the node's p, `[batch, nodes + 1, vocab]`."""
    rows = torch.arange(len(p), device=p.device)
    uniform = torch.rand(tokens.shape, generator=generator, device=p.device, dtype=p.dtype)
    left = p.clone()
    open_ = torch.ones(p.shape[:2], dtype=torch.bool, device=p.device)
    taken = torch.zeros_like(counts)
    for node in range(tokens.shape[1]):
        at, token = parents[:, node] + 1, tokens[:, node : node + 1]
        now, drawn_from, tried = left[rows, at], q[:, node], counts[:, node] & open_[rows, at]
        p_token, q_token = now.gather(1, token).squeeze(1), drawn_from.gather(1, token).squeeze(1)
        taken[:, node] = tried & (uniform[:, node] * q_token < p_token)
        open_[rows, at] &= ~taken[:, node]
        rejected = (tried & ~taken[:, node]).unsqueeze(1)
        left[rows, at] = torch.where(rejected, residual(now, drawn_from), now)
    return taken, left


def residual(p: Tensor, q: Tensor) -> Tensor:
    """norm(max(0, p - q)) over the last dimension; p itself where p = q up to rounding leaves nothing over."""
    rest = (p - q).clamp_(min=0)
    mass = rest.sum(-1, keepdim=True)
    return torch.where(mass > 0, rest / mass, p)
