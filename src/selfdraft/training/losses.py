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
    ) -> tuple[Tensor, Tensor]:
        wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        weight_cast = weight.to(hidden.dtype)
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight, dtype=wide)
        loss = torch.zeros((), dtype=torch.float64, device=hidden.device)
        kl_total = torch.zeros((), dtype=torch.float64, device=hidden.device)
        temperature = objective.temperature
        for begin in range(0, len(hidden), chunk):
            part = slice(begin, begin + chunk)
            draft = F.linear(hidden[part], weight_cast).to(wide)
            teacher = F.linear(teacher_hidden[part], teacher_weight).to(wide)
            log_p = F.log_softmax(teacher.div_(temperature), dim=-1)
            p = log_p.exp()
            grad = torch.zeros_like(draft) if objective.ce_weight else None
            if grad is not None:
                log_q1 = F.log_softmax(draft, dim=-1)
                picked = log_q1.gather(1, labels[part].unsqueeze(1))
                loss -= objective.ce_weight * picked.sum()
                grad = log_q1.exp_().scatter_add_(1, labels[part].unsqueeze(1), picked.new_full(picked.shape, -1))
                grad *= objective.ce_weight
            log_q = F.log_softmax(draft.div_(temperature), dim=-1)
            kl = (p * log_p.sub_(log_q)).sum()
            kl_total += kl
            loss += temperature**2 * kl
            kl_grad = log_q.exp_().sub_(p).mul_(temperature)
            grad = kl_grad if grad is None else grad.add_(kl_grad)
            narrow = grad.to(hidden.dtype)
            grad_hidden[part] = narrow @ weight_cast
            grad_weight += narrow.T @ hidden[part]
        context.save_for_backward(grad_hidden, grad_weight)
        context.mark_non_differentiable(kl_total)
        return loss, kl_total

    @staticmethod
    def backward(context: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_weight = context.saved_tensors
        scale = grads[0]
        return (
            grad_hidden * scale.to(grad_hidden.dtype),
            grad_weight.mul_(scale),
            None,
            None,
            None,
            None,
            None,
        )


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
    loss, kl = _HeadLoss.apply(hidden, weight, teacher_hidden, teacher_weight, labels, objective, chunk)
    return loss / len(hidden), kl / len(hidden)
