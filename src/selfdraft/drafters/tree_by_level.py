"""Drafting a tree level by level: its most likely paths, for a drafter that reads many tokens at once.

EAGLE-2's dynamic expansion (Li et al. 2024, arXiv 2406.16858). A path is worth the probability that the draft gives it,
which is about that of its acceptance. On each level the best tokens behind each continued one are candidates, and the
best candidates are continued; of all candidates the best make the tree. Of a drafter that predicts its own acceptance,
c = Σ min(p, q) behind a token, the children of that token are worth c together in place of 1, each its share of q: a
branch in which the draft knows little makes room for others. Nothing in a tree is drawn, so that any choice is exact.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from selfdraft.decoding.drafter import Draft
from selfdraft.decoding.drafting import Tree

# (tokens [batch, count], parents [batch, count], seen [batch, count, tokens so far], level) -> logits
# [batch, count, vocab] behind the tokens that are continued on this level, from 0 on. `parents` are places among those
# continued on the level above; `seen` says which of all continued tokens, level after level, are ancestors or itself.
Expand = Callable[[Tensor, Tensor, Tensor, int], Tensor]
# () -> float32 [batch, count], the chance that a token drawn from the last logits is accepted
Chance = Callable[[], Tensor]


def draft_tree(
    logits: Tensor,
    expand: Expand,
    gamma: int,
    tree: Tree,
    room: int,
    kept_ids: Tensor,
    continued: int,
    chance: Chance | None = None,
) -> Draft:
    """A tree of at most `gamma` levels, from the logits `[batch, vocab]` behind the pending token.

    `room` is the number of tokens that may be verified, `continued` of those whose states the drafter has place for.
    `kept_ids` are the target's ids of the head's rows. With `chance`, asked after `logits` and each `expand`, paths are
    worth the part of their probability that is expected to be accepted.
    """
    batch, width = len(logits), min(tree.children, logits.shape[-1])
    levels = min(gamma, 1 + continued // width)
    value = logits.new_zeros((batch, 1), dtype=torch.float32)  # of the tokens continued: logarithm of their path's
    place = logits.new_full((batch, 1), -1, dtype=torch.int64)  # where they stand among all candidates
    seen = logits.new_empty((batch, 1, 0), dtype=torch.bool)
    itself = torch.eye(width, dtype=torch.bool, device=logits.device).expand(batch, -1, -1)
    behind, count = logits.unsqueeze(1), 0
    values, tokens, parents = [], [], []
    for level in range(levels):
        best, ids = torch.log_softmax(behind.float(), dim=-1).topk(width)
        if chance is not None:
            best = best + chance().log().unsqueeze(-1)
        best = best.nan_to_num(nan=float("-inf"), neginf=float("-inf")).clamp(max=0)  # a child is worth no more
        values.append((value.unsqueeze(-1) + best).flatten(1))
        tokens.append(kept_ids[ids].flatten(1))
        parents.append(place.unsqueeze(-1).expand_as(best).flatten(1))
        if level + 1 == levels:
            break
        value, chosen = values[-1].topk(width)
        above = chosen // width
        rows = torch.arange(batch, device=logits.device).unsqueeze(1)
        seen = torch.cat((seen[rows, above], itself), dim=-1)
        behind = expand(tokens[-1].gather(1, chosen), above, seen, level)
        place, count = count + chosen, count + values[-1].shape[1]
    # Stable: of equal ones the upper level's comes first, so that no token is kept without its parent.
    order = torch.cat(values, dim=1).sort(dim=1, descending=True, stable=True).indices
    kept = order[:, : min(tree.nodes, room)].sort(dim=1).values
    above = torch.cat(parents, dim=1).gather(1, kept)
    above = torch.where(above < 0, above, torch.searchsorted(kept, above))
    return Draft(torch.cat(tokens, dim=1).gather(1, kept), parents=above)
