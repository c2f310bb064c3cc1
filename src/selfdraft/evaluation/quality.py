"""How well drafts predict held-out answers, next to their teacher: sums per conversation."""

from collections.abc import Iterator, Sequence
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


def label_terms(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy summed over tokens, and each label's rank: float32 logits `[tokens, vocab]`, labels `[tokens]`.

    A label is among the best k if fewer than k tokens have a greater logit, or the same logit and a
    lower id: argmax's order, in which bfloat16's frequent ties give no token twice.
    """
    at = labels.unsqueeze(1)
    picked = logits.gather(1, at)
    ids = torch.arange(logits.shape[-1], device=logits.device)
    rank = ((logits > picked) | ((logits == picked) & (ids < at))).sum(-1)
    return (logits.logsumexp(-1) - picked[:, 0]).double().sum(), rank


class Teacher:
    """The teacher's part of the sums on some tokens, once for all drafts: float32 logits `[tokens, vocab]`."""

    def __init__(self, logits: Tensor, labels: Tensor) -> None:
        self.logits, self.labels = logits, labels
        self.best = logits.argmax(-1)
        self._log_p: dict[float, tuple[Tensor, Tensor]] = {}
        ce, rank = label_terms(logits, labels)
        self.sums = {
            "teacher_ce_sum": ce.item(),
            "teacher_top1_sum": (rank < 1).sum().item(),
            "teacher_top5_sum": (rank < 5).sum().item(),
        }

    def kl_sum(self, draft: Tensor, temperature: float) -> float:
        """Σ over tokens of KL(p ‖ q), logits `[tokens, vocab]` softened by `temperature`; nats."""
        if temperature not in self._log_p:
            log_p = F.log_softmax(self.logits / temperature, dim=-1)
            self._log_p[temperature] = log_p, log_p.exp()
        log_p, p = self._log_p[temperature]
        return (p * (log_p - F.log_softmax(draft / temperature, dim=-1))).sum().double().item()

    def with_draft(self, draft: Tensor, temperature: float) -> dict[str, float]:
        """The sums of measurement's quality table over these tokens, for a draft's logits like the teacher's."""
        ce, rank = label_terms(draft, self.labels)
        kl = self.kl_sum(draft, temperature)
        return {
            "kl_sum": kl,
            "kl_at_1_sum": kl if temperature == 1 else self.kl_sum(draft, 1.0),
            "ce_sum": ce.item(),
            "top1_sum": (rank < 1).sum().item(),
            "top5_sum": (rank < 5).sum().item(),
            "agreement_sum": (draft.argmax(-1) == self.best).sum().item(),
            **self.sums,
        }


@torch.inference_mode()
def quality_rows(
    target: Llama, drafts: Sequence[Exit], states: States, temperatures: Sequence[float], chunk: int = 128
) -> Iterator[list[dict[str, Any]]]:
    """For each conversation with answer tokens a row of sums per draft; the teacher is the target itself.

    The teacher's logits are computed once for all drafts; a draft's row does not depend on the others.
    """
    text = states.sequences
    rows = CACHED_ROWS.get(target.device.type, chunk)
    for number, (begin, end) in enumerate(pairwise(text.offsets.tolist())):
        if not text.mask[begin + 1 : end].any():
            continue
        batch = make_batch(text, [number])
        loaded = states.load(batch, {draft.depth for draft in drafts})
        step, positions = target.step([0], end - begin), batch.positions.to(target.device)
        hidden = [draft(loaded.inputs[draft.depth], step)[0][positions] for draft in drafts]
        final = target.norm(loaded.final)
        labels = batch.labels.to(target.device)
        totals: list[dict[str, float]] = [{} for _ in drafts]
        for at in range(0, len(labels), chunk):
            part = slice(at, at + chunk)
            of_teacher = target.head(final[part])
            of_drafts = [draft.head(state[part]) for draft, state in zip(drafts, hidden, strict=True)]
            for first in range(0, len(of_teacher), rows):
                few = slice(first, first + rows)
                teacher = Teacher(of_teacher[few].float(), labels[part][few])
                for total, logits, T in zip(totals, of_drafts, temperatures, strict=True):
                    for name, value in teacher.with_draft(logits[few].float(), T).items():
                        total[name] = total.get(name, 0) + value
        yield [{"conversation": text.ids[number], "tokens": len(labels), **total} for total in totals]
