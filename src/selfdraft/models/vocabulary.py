"""A draft's vocabulary beside the target's: of few tokens, and the way back; of another model, with the same tokens."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from selfdraft.errors import StudyError


def most_frequent(counts: NDArray[np.int64], count: int, key: str = "draft vocabulary") -> Tensor:
    """The `count` ids with the highest of `counts [vocab]`, ascending, int64 `[count]`; ties and gaps by lower id.

    Raises StudyError, naming `key`, unless 1 ≤ count ≤ vocab.
    """
    vocab = len(counts)
    if not 1 <= count <= vocab:
        raise StudyError(f"{key}: {count} tokens asked, the target has {vocab}; 1…{vocab} is right")
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


def check_same_tokens(target: str | Path, folder: str | Path, key: str) -> None:
    """Raise StudyError, naming `key`, unless both model folders have the same tokens under the same ids.

    The models may still differ in rows behind the last token, which are there for padding alone (Qwen2.5 has
    151,936 or 152,064 by its size).
    """
    ours, theirs = (_tokens(Path(place) / "tokenizer.json") for place in (target, folder))
    if ours == theirs:
        return
    other = {text for text in {*ours, *theirs} if ours.get(text) != theirs.get(text)}
    # Two tokens that changed places have the same lowest id: their text says which is named, at every run.
    text = min(other, key=lambda text: (min(ours.get(text, 2**40), theirs.get(text, 2**40)), text))
    raise StudyError(
        f"{key}: {folder} has another vocabulary (tokenizer.json): {text!r} is token {ours.get(text)} of the target "
        f"and {theirs.get(text)} there; both must share one tokenizer"
    )


def _tokens(path: Path) -> dict[str, int]:
    if not path.is_file():
        raise StudyError(f"{path}: file not found; it says whether two models have the same tokens")
    try:
        return dict(Tokenizer.from_file(str(path)).get_vocab())
    except Exception as error:  # tokenizers raises plain Exception
        raise StudyError(f"{path}: not a tokenizer ({error})") from None
