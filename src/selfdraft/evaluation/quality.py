"""How well a draft predicts held-out answers, next to its teacher: sums per conversation."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from selfdraft.models.exit import Exit
from selfdraft.models.llama import Llama
from selfdraft.training.batches import make_batch
from selfdraft.training.losses import CACHED_ROWS
from selfdraft.training.states import States

COLUMNS = (
    *("drafter", "layer", "T", "capacity", "objective", "seed", "dataset"),
    *("conversation", "tokens", "kl_sum", "kl_at_1_sum", "ce_sum", "top1_sum", "top5_sum"),
    *("agreement_sum", "teacher_ce_sum", "teacher_top1_sum", "teacher_top5_sum"),
    *("trained_parameters", "trained_bytes"),
)


def kl_sum(teacher: Tensor, draft: Tensor, temperature: float) -> Tensor:
    """Σ over tokens of KL(p ‖ q), logits `[tokens, vocab]` softened by `temperature`; nats."""
    log_p = F.log_softmax(teacher / temperature, dim=-1)
    log_q = F.log_softmax(draft / temperature, dim=-1)
    return (log_p.exp() * (log_p - log_q)).sum().double()


def sums(teacher: Tensor, draft: Tensor, labels: Tensor, temperature: float) -> dict[str, float]:
    """The sums of measurement's quality table over tokens: float32 logits `[tokens, vocab]`, labels `[tokens]`.

    A label is among the best k if fewer than k tokens have a greater logit, or the same logit and a
    lower id: argmax's order, in which bfloat16's frequent ties give no token twice.
    """
    at = labels.unsqueeze(1)
    ids = torch.arange(draft.shape[-1], device=draft.device)

    def label_terms(logits: Tensor) -> tuple[Tensor, Tensor]:
        picked = logits.gather(1, at)
        return (logits.logsumexp(-1) - picked[:, 0]).double().sum(), (
            (logits > picked) | ((logits == picked) & (ids < at))
        ).sum(-1)

    ce, rank = label_terms(draft)
    teacher_ce, teacher_rank = label_terms(teacher)
    kl = kl_sum(teacher, draft, temperature)
    found = {
        "kl_sum": kl,
        "kl_at_1_sum": kl if temperature == 1 else kl_sum(teacher, draft, 1.0),
        "ce_sum": ce,
        "top1_sum": (rank < 1).sum(),
        "top5_sum": (rank < 5).sum(),
        "agreement_sum": (draft.argmax(-1) == teacher.argmax(-1)).sum(),
        "teacher_ce_sum": teacher_ce,
        "teacher_top1_sum": (teacher_rank < 1).sum(),
        "teacher_top5_sum": (teacher_rank < 5).sum(),
    }
    return {name: value.item() for name, value in found.items()}


@torch.inference_mode()
def quality_rows(
    target: Llama, draft: Exit, states: States, temperature: float, chunk: int = 128
) -> Iterator[dict[str, Any]]:
    """One row of sums per conversation with answer tokens; the teacher is the target itself."""
    text = states.sequences
    rows = CACHED_ROWS.get(target.device.type, chunk)
    for number, (begin, end) in enumerate(pairwise(text.offsets.tolist())):
        if not text.mask[begin + 1 : end].any():
            continue
        batch = make_batch(text, [number])
        loaded = states.load(batch, [draft.depth])
        hidden = draft(loaded.inputs[draft.depth], target.step([0], end - begin))[0]
        hidden = hidden[batch.positions.to(target.device)]
        final = target.norm(loaded.final)
        labels = batch.labels.to(target.device)
        total: dict[str, float] = {}
        for at in range(0, len(labels), chunk):
            part = slice(at, at + chunk)
            draft_logits, teacher_logits = draft.head(hidden[part]), target.head(final[part])
            for first in range(0, len(draft_logits), rows):
                few = slice(first, first + rows)
                found = sums(teacher_logits[few].float(), draft_logits[few].float(), labels[part][few], temperature)
                for name, value in found.items():
                    total[name] = total.get(name, 0) + value
        yield {"conversation": text.ids[number], "tokens": len(labels), **total}
