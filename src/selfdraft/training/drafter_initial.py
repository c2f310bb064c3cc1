"""A drafter that begins where another one's training ended, a word of its vocabulary at a time.

So one may learn first from text that there is much of and then from the target's own answers, or get a part that it did
not have. The fusion, the layer and the norms are the other one's. Each drafter has the most frequent words of the
answers that it learns from: of a word that the other one does not know the head keeps the target's row.
"""

from pathlib import Path
from typing import Any

import torch

from selfdraft.errors import StudyError
from selfdraft.files import sha256_of
from selfdraft.models.eagle3 import Eagle3, load_eagle3
from selfdraft.models.llama import Llama
from selfdraft.models.token_bias import EMBEDDING

BY_WORD = ("lm_head.weight", "bias.head.weight")  # tensors with a row for each word of the draft vocabulary
MAP = ("d2t", "t2d")


def begin_from(draft: Eagle3, folder: str | Path, target: Llama, where: str) -> dict[str, Any]:
    """Give an untrained drafter the tensors of the trained one in `folder`; what that does not have stays untrained.

    Returns what a checkpoint says of it: its name, where it came from, what it had learnt from. Raises StudyError, as
    `load_eagle3`, and naming `where` if it has another layout, or a part that `draft` lacks.
    """
    other, config = load_eagle3(folder, target)
    for key, found, wanted in (
        ("features", list(other.features), list(draft.features)),
        ("fc_norm", len(other.fc_norm) > 0, len(draft.fc_norm) > 0),
        ("norm_output", other.norm_output, draft.norm_output),
    ):
        if found != wanted:
            raise StudyError(f"{where}: {folder} has {key} {found}, here it is {wanted}; the same layout is right")
    ours, theirs = draft.named_tensors(), other.named_tensors()
    if lacking := sorted(set(theirs) - set(ours)):
        raise StudyError(f"{where}: {folder} has {', '.join(lacking)}, which this drafter would lose")
    if EMBEDDING in theirs and theirs[EMBEDDING].shape != ours[EMBEDDING].shape:
        ranks = theirs[EMBEDDING].shape[1], ours[EMBEDDING].shape[1]
        raise StudyError(f"{where}: {folder} has bias_rank {ranks[0]}, here it is {ranks[1]}; the same one is right")
    take(draft, other)
    return {
        "drafter": config.get("drafter"),
        "weights": sha256_of(Path(folder) / "draft.safetensors"),
        "commit": config.get("commit"),
        "config_hash": config.get("config_hash"),
        "training_tokens": config.get("training_tokens") or 0,
        "training_seconds": config.get("training_seconds") or 0.0,
    }


@torch.no_grad()
def take(draft: Eagle3, other: Eagle3) -> None:
    """Copy another drafter's tensors, all of which `draft` has in the same shape but for the words that it drafts."""
    shared = torch.isin(draft.kept_ids, other.kept_ids)
    places = torch.searchsorted(other.kept_ids, draft.kept_ids[shared])
    ours = draft.named_tensors()  # views of the drafter's own memory
    for name, tensor in other.named_tensors().items():
        if name in BY_WORD:
            ours[name][shared] = tensor[places].to(ours[name])
        elif name not in MAP:
            ours[name].copy_(tensor)
