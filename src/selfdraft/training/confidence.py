"""What a confidence head learns: how much of each unrolled step's distribution the teacher's overlaps, Σ min(p, q).

Cross-entropy towards that share (DSpark, arXiv 2607.05147). Nothing of the drafter but the head learns from it: its
states and its share are taken as they are.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from selfdraft.models.eagle3 import Eagle3
from selfdraft.training.known import Known

CHUNK = 256  # labels whose logits exist at once


def confidence_losses(
    draft: Eagle3, known: Known, outputs: Sequence[Tensor], places: Sequence[Tensor], before: Sequence[Tensor]
) -> Tensor:
    """The cross-entropy of each unrolled step, in nats, summed over its labels, float64 `[steps]`.

    Args:
        known: the teacher's, with the mass of its whole vocabulary; it is at temperature 1, as the draft.
        outputs: the output from which a step predicts each of its labels, `[labels, hidden]` a step.
        places: where the predicted tokens stand in the split, a step; before: the tokens before them.
    """
    head = draft.confidence
    assert head is not None
    sums = [torch.zeros((), dtype=torch.float64, device=output.device) for output in outputs]
    for first in range(0, max(map(len, places)), CHUNK):
        taught: tuple[Tensor, Tensor] | None = None  # the labels that the teacher was asked for last, and what it said
        for step, (output, own, tokens) in enumerate(zip(outputs, places, before, strict=True)):
            part = slice(first, first + CHUNK)
            if len(own[part]) == 0:
                continue
            with torch.no_grad():
                if taught is None or not torch.equal(taught[0], own[part]):
                    _, mass = known.of(own[part])
                    taught = own[part], known.probabilities(own[part], mass)
                state = output[part].detach()
                q = torch.softmax(draft.logits(state, tokens[part]).float(), dim=-1)
                share = torch.minimum(taught[1], q).sum(-1).clamp(max=1.0)
                read = draft.read(state)
            odds = head(read).squeeze(-1).float()
            sums[step] = sums[step] + F.binary_cross_entropy_with_logits(odds, share, reduction="sum").double()
    return torch.stack(sums)
