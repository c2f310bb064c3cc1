"""A draft vocabulary of few tokens: the head's rows that are kept, and the way back to the target's ids."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfdraft.errors import StudyError


def most_frequent(counts: NDArray[np.int64], count: int) -> Tensor:
    """The `count` ids with the highest of `counts [vocab]`, ascending, int64 `[count]`; ties and gaps by lower id.

    Raises StudyError unless 1 ≤ count ≤ vocab.
    """
    vocab = len(counts)
    if not 1 <= count <= vocab:
        raise StudyError(f"draft vocabulary: {count} tokens asked, the target has {vocab}; 1…{vocab} is right")
    often = np.argsort(-counts, kind="stable")
    return torch.from_numpy(np.sort(often[:count]))


def checked_ids(kept_ids: Tensor, vocab: int) -> Tensor:
    """Distinct ids, ascending. Raises StudyError if there is none, or one that the target lacks."""
    if kept_ids.numel() == 0 or int(kept_ids.min()) < 0 or int(kept_ids.max()) >= vocab:
        raise StudyError(f"draft vocabulary: ids must be between 0 and {vocab - 1}, and at least one")
    return kept_ids.unique()


def to_target_ids(kept_ids: Tensor, tokens: Tensor, q: Tensor | None, vocab: int) -> tuple[Tensor, Tensor | None]:
    """Tokens `[batch, 1]` and q `[batch, kept]` of a trimmed head in the target's vocabulary; q is zero elsewhere.

    Any subset of the vocabulary is exact: what cannot be drafted still comes from the residual (FR-Spec,
    arXiv 2502.14856).
    """
    if q is not None:
        q = torch.zeros((len(q), vocab), dtype=q.dtype, device=q.device).index_copy_(1, kept_ids, q)
    return kept_ids[tokens], q
