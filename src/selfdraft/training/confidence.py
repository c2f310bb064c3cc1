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
    draft: Eagle3, known: Known, outputs: Sequence[Tensor], places: Tensor, labels: Tensor, before: Tensor
) -> Tensor:
    """The cross-entropy of each unrolled step, in nats, summed over labels, float64 `[steps]`.

    Args:
        known: the teacher's, with the mass of its whole vocabulary; it is at temperature 1, as the draft.
        outputs: the layer's output in each step, `[total, hidden]` each.
        places, labels: where the predicted tokens stand in the split, and in the pack; before: the tokens before them.
    """
    head = draft.confidence
    assert head is not None
    _, mass = known.of(places)
    sums = [torch.zeros((), dtype=torch.float64, device=before.device) for _ in outputs]
    for some in torch.arange(len(places)).split(CHUNK):
        with torch.no_grad():
            p = known.probabilities(places[some], mass[some])
        for step, output in enumerate(outputs):
            with torch.no_grad():
                state = output[labels[some] - 2 - step].detach()
                q = torch.softmax(draft.logits(state, before[some]).float(), dim=-1)
                share = torch.minimum(p, q).sum(-1).clamp(max=1.0)
                read = draft.read(state)
            odds = head(read).squeeze(-1).float()
            sums[step] = sums[step] + F.binary_cross_entropy_with_logits(odds, share, reduction="sum").double()
    return torch.stack(sums)
