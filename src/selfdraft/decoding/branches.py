"""The shape of a draft that branches: from the parents of its tokens to who sees whom, and how deep each stands."""

import torch
from torch import Tensor


def sees(parents: Tensor) -> Tensor:
    """Which tokens of a verification each of them sees: the pending one (place 0), its own ancestors and itself.

    Args:
        parents: int64 `[batch, nodes]`, the place of each drafted token's parent in the draft, before its own; -1 for
            one that follows the pending token.

    Returns:
        Bool `[batch, nodes + 1, nodes + 1]`, a row for the token that sees. A token's depth is the row's sum less one.
    """
    nodes = parents.shape[1]
    places = torch.arange(nodes + 1, device=parents.device)
    up = torch.cat((torch.zeros_like(parents[:, :1]), parents + 1), dim=1)
    seen = (up.unsqueeze(-1) == places) | (places.unsqueeze(-1) == places)
    for _ in range(nodes.bit_length()):  # each round doubles the generations that are seen
        seen = seen.float() @ seen.float() > 0
    return seen


def earlier_siblings(parents: Tensor) -> Tensor:
    """Bool `[batch, nodes, nodes]`: whether the token of a row has the other as a sibling that is tried before it."""
    order = torch.arange(parents.shape[1], device=parents.device)
    return (parents.unsqueeze(-1) == parents.unsqueeze(1)) & (order.unsqueeze(-1) > order)
