"""Distillation through an LM head without ever holding the vocabulary for a whole batch."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Objective:
    """T²·KL(teacher ‖ draft) at temperature T, plus `ce_weight` · cross-entropy with the labels."""

    temperature: float
    ce_weight: float = 0.0


# Rows whose logits are worked on at once: 16 rows of a 49,152-word vocabulary stay in a CPU's cache, and the
# dozen passes over them cost less than the matrix products (docs/benchmarks.md).
CACHED_ROWS = {"cpu": 16, "cuda": 4096}


def _logit_gradient(
    draft: Tensor, teacher: Tensor, labels: Tensor, objective: Objective, grad: Tensor
) -> tuple[Tensor, Tensor]:
    """Loss and KL, summed over rows; writes d loss / d draft logits into `grad`. All `[rows, vocab]`."""
    temperature = objective.temperature
    log_q = F.log_softmax(draft if temperature == 1 else draft / temperature, dim=-1)
    log_p = F.log_softmax(teacher if temperature == 1 else teacher / temperature, dim=-1)
    p, q = log_p.exp(), log_q.exp()
    kl = (log_p.sub_(log_q).mul_(p)).sum(dtype=torch.float64)
    loss = temperature**2 * kl
    q.sub_(p)
    if temperature != 1:
        q.mul_(temperature)
    if objective.ce_weight:
        log_q1 = log_q if temperature == 1 else F.log_softmax(draft, dim=-1)
        at = labels.unsqueeze(1)
        loss = loss - objective.ce_weight * log_q1.gather(1, at).sum(dtype=torch.float64)
        minus_one = torch.full(at.shape, -1.0, dtype=q.dtype, device=q.device)
        q.add_(log_q1.exp().scatter_add_(1, at, minus_one), alpha=objective.ce_weight)
    grad.copy_(q)
    return loss, kl


class _HeadLoss(torch.autograd.Function):
    """Loss of `hidden @ weightᵀ` summed over tokens; its gradient is formed on the way, chunk by chunk."""

    @staticmethod
    def forward(
        context: Any,
        hidden: Tensor,
        weight: Tensor,
        teacher_hidden: Tensor,
        teacher_weight: Tensor,
        labels: Tensor,
        objective: Objective,
        chunk: int,
        with_gradient: bool,
    ) -> tuple[Tensor, Tensor]:
        wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        weight_cast = weight.to(hidden.dtype)
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight, dtype=wide) if with_gradient else torch.empty(0)
        loss = torch.zeros((), dtype=torch.float64, device=hidden.device)
        kl = torch.zeros((), dtype=torch.float64, device=hidden.device)
        rows = CACHED_ROWS.get(hidden.device.type, chunk)
        for begin in range(0, len(hidden), chunk):
            part = slice(begin, begin + chunk)
            draft = F.linear(hidden[part], weight_cast)
            teacher = F.linear(teacher_hidden[part], teacher_weight)
            for at in range(0, len(draft), rows):
                few = slice(at, at + rows)
                # The draft's logits are not needed once their gradient is known: it takes their place.
                more_loss, more_kl = _logit_gradient(
                    draft[few].to(wide), teacher[few].to(wide), labels[part][few], objective, draft[few]
                )
                loss += more_loss
                kl += more_kl
            if with_gradient:
                grad_hidden[part] = draft @ weight_cast
                grad_weight += draft.T @ hidden[part]
        context.save_for_backward(grad_hidden, grad_weight)
        context.mark_non_differentiable(kl)
        return loss, kl

    @staticmethod
    def backward(context: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_weight = context.saved_tensors
        scale = grads[0]
        return grad_hidden * scale.to(grad_hidden.dtype), grad_weight.mul_(scale), *[None] * 6


def head_loss(
    hidden: Tensor,
    weight: Tensor,
    teacher_hidden: Tensor,
    teacher_weight: Tensor,
    labels: Tensor,
    objective: Objective,
    chunk: int = 256,
) -> tuple[Tensor, Tensor]:
    """Mean loss per token, and mean KL(teacher ‖ draft) at temperature T in nats (no gradient, no T²).

    Args:
        hidden: draft's normed hidden states `[tokens, hidden]`; products are taken in its dtype.
        weight: draft's LM head `[vocab, hidden]`, may be a float32 master weight.
        teacher_hidden: teacher's normed final hidden states `[tokens, hidden]`.
        teacher_weight: teacher's LM head `[vocab, hidden]`.
        labels: the next token at each position, int64 `[tokens]`; used by cross-entropy only.
        objective: temperature and weight of the cross-entropy.
        chunk: tokens whose logits exist at once; memory grows with `chunk · vocab`, not `tokens · vocab`.
    """
    with_gradient = torch.is_grad_enabled()
    loss, kl = _HeadLoss.apply(hidden, weight, teacher_hidden, teacher_weight, labels, objective, chunk, with_gradient)
    return loss / len(hidden), kl / len(hidden)
