"""Distillation through LM heads without ever holding the vocabulary for a whole batch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from selfdraft.errors import StudyError

DIVERGENCES = ("kl", "reverse_kl", "tv", "lk")
LK_RATE = 3.0  # of lk: its weight of the KL is exp(−LK_RATE · overlap), as in arXiv 2602.23881

# A draft's logits as products: Σ input @ weightᵀ over pairs of input [tokens, size] and weight [vocab, size].
Products = Sequence[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Objective:
    """T²·D(teacher, draft), both at temperature T, plus `ce_weight` · cross-entropy with the labels at 1.

    divergence: kl = KL(p ‖ q), reverse_kl = KL(q ‖ p), tv = ½ Σ |p − q|; p the teacher, q the draft.
    lk = λ·kl + (1 − λ)·tv with λ = exp(−3·Σ min(p, q)) of the token itself, taken as a constant: KL where little is
    accepted yet, and what acceptance is made of where much is.
    teacher_top_k: only the teacher's k most likely tokens, renormalised; 0 keeps all. Then reverse_kl
    would be infinite: it is refused.
    """

    temperature: float
    divergence: str = "kl"
    ce_weight: float = 0.0
    teacher_top_k: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise StudyError(f"T: {self.temperature} is not a finite number > 0")
        if self.divergence not in DIVERGENCES:
            raise StudyError(f"divergence: {self.divergence!r} is unknown; one of {', '.join(DIVERGENCES)} is right")
        if self.teacher_top_k and self.divergence == "reverse_kl":
            raise StudyError(
                "training.teacher_top_k: does not go with objective reverse_kl, which is infinite where the teacher "
                "has no mass; 0 keeps all"
            )


# Rows whose logits are worked on at once: 16 rows of a 49,152-word vocabulary stay in a CPU's cache, and the
# dozen passes over them cost less than the matrix products (docs/benchmarks.md).
CACHED_ROWS = {"cpu": 16, "cuda": 4096}
LOGITS = 2**25  # numbers in one draft's logits that exist at once: 682 tokens of 49,152 words, 261 of 128,256
WORDS = 8192  # words whose part of a chunk's weight gradient exists at once, beside the sum


@dataclass(frozen=True)
class Teacher:
    """The teacher's distribution on some rows, float `[rows, vocab]`: its logarithm, and itself.

    `left_out` is its mass outside its top k, float64, summed over the rows; None if all was kept.
    """

    log_p: Tensor
    p: Tensor
    left_out: Tensor | None = None

    @classmethod
    def of(cls, logits: Tensor, temperature: float, top_k: int) -> "Teacher":
        """From logits `[rows, vocab]`, which may be overwritten."""
        log_p = F.log_softmax(logits if temperature == 1 else logits / temperature, dim=-1)
        left_out = None
        if 0 < top_k < logits.shape[-1]:
            kept, ids = log_p.topk(top_k, dim=-1)
            mass = kept.logsumexp(-1, keepdim=True)
            left_out = (1 - mass.exp()).clamp_(min=0).sum(dtype=torch.float64)
            log_p = torch.full_like(log_p, -math.inf).scatter_(1, ids, kept - mass)
        return cls(log_p, log_p.exp(), left_out)


def _p_log_p_over_q(teacher: Teacher, log_q: Tensor) -> Tensor:
    """p (log p − log q), 0 where p is 0."""
    difference = teacher.log_p - log_q
    if teacher.left_out is not None:
        difference.masked_fill_(teacher.p == 0, 0.0)
    return difference.mul_(teacher.p)


def _sum_of_p_log_p_over_q(teacher: Teacher, log_q: Tensor) -> Tensor:
    return _p_log_p_over_q(teacher, log_q).sum(dtype=torch.float64)


def _total_variation(teacher: Teacher, q: Tensor) -> tuple[Tensor, Tensor]:
    """½ Σ |p − q| of each row, `[rows, 1]`, and its slope by the draft's logits at temperature 1, `[rows, vocab]`."""
    difference = q - teacher.p
    sign = difference.sign()
    slope = sign.sub_((q * sign).sum(-1, keepdim=True)).mul_(q).mul_(0.5)
    return difference.abs_().sum(-1, keepdim=True).mul_(0.5), slope


def _logit_gradient(draft: Tensor, teacher: Teacher, labels: Tensor, objective: Objective, grad: Tensor) -> Tensor:
    """The loss, summed over rows; writes d loss / d draft logits into `grad`. All `[rows, vocab]`."""
    T = objective.temperature
    log_q = F.log_softmax(draft if T == 1 else draft / T, dim=-1)
    q = log_q.exp()
    if objective.divergence == "kl":
        value = _sum_of_p_log_p_over_q(teacher, log_q)
        slope = q - teacher.p
    elif objective.divergence == "reverse_kl":
        ratio = log_q - teacher.log_p
        by_row = (q * ratio).sum(-1, keepdim=True)
        value = by_row.sum(dtype=torch.float64)
        slope = ratio.sub_(by_row).mul_(q)
    else:
        distances, slope = _total_variation(teacher, q)
        if objective.divergence == "lk":
            of_kl = (-LK_RATE * (1 - distances)).exp()  # a teacher and a draft overlap by what is not their distance
            kls = _p_log_p_over_q(teacher, log_q).sum(-1, keepdim=True)
            value = torch.lerp(distances, kls, of_kl).sum(dtype=torch.float64)
            slope.lerp_(q - teacher.p, of_kl)
        else:
            value = distances.sum(dtype=torch.float64)
    # d/d logits = 1/T · d/d (logits / T), times T²
    loss = T**2 * value
    if T != 1:
        slope.mul_(T)
    if objective.ce_weight:
        log_q1 = log_q if T == 1 else F.log_softmax(draft, dim=-1)
        at = labels.unsqueeze(1)
        loss = loss - objective.ce_weight * log_q1.gather(1, at).sum(dtype=torch.float64)
        minus_one = torch.full(at.shape, -1.0, dtype=q.dtype, device=q.device)
        slope.add_(log_q1.exp().scatter_add_(1, at, minus_one), alpha=objective.ce_weight)
    grad.copy_(slope)
    return loss


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _logits(products: Products, part: slice) -> Tensor:
    """Logits `[rows, vocab]` of some tokens."""
    (x, weight), *more = products
    logits = F.linear(x[part], weight)
    for x, weight in more:
        logits = torch.addmm(logits, x[part], weight.T)
    return logits


def chunk_of(vocab: int) -> int:
    """How many tokens' logits exist at once."""
    return max(64, LOGITS // vocab)


def keep_for_next_step(parameter: Tensor) -> None:
    """Take the gradient off a parameter and keep its memory: new pages for a large head cost as much as a product."""
    parameter.spare, parameter.grad = parameter.grad, None  # type: ignore[attr-defined]


def _buffer(weight: Tensor) -> Tensor:
    """Memory for a weight's gradient, what is in it does not matter."""
    spare: Tensor | None = weight.__dict__.pop("spare", None)
    dtype = _wide(weight.dtype)
    return torch.empty_like(weight, dtype=dtype) if spare is None or spare.dtype != dtype else spare


def _put_product(total: Tensor, logits: Tensor, x: Tensor, add: bool) -> None:
    """`total [vocab, size]` = or += `logitsᵀ @ x` of logits `[rows, vocab]`, x `[rows, size]`, some words at a time."""
    for first in range(0, len(total), WORDS):
        words = slice(first, first + WORDS)
        product = logits[:, words].T @ x
        if add:
            total[words] += product
        else:
            total[words] = product


class _HeadLosses(torch.autograd.Function):
    """Losses of several drafts, each summed over tokens; the gradients are formed on the way, chunk by chunk.

    Flat arguments: for each draft, for each of its products, input and weight.
    """

    @staticmethod
    def forward(
        context: Any,
        counts: Sequence[int],
        teacher_hidden: Tensor,
        teacher_weight: Tensor,
        labels: Tensor,
        objectives: Sequence[Objective],
        chunk: int,
        *flat: Tensor,
    ) -> Tensor:
        inputs, weights = flat[::2], flat[1::2]
        dtype = inputs[0].dtype
        needed = context.needs_input_grad[6:]
        cast = {id(weight): weight.to(dtype) for weight in weights}
        drafts: list[list[tuple[Tensor, Tensor]]] = []
        at = 0
        for count in counts:
            drafts.append([(inputs[i], cast[id(weights[i])]) for i in range(at, at + count)])
            at += count
        grads: list[Tensor | None] = []
        for i, (x, weight) in enumerate(zip(inputs, weights, strict=True)):
            grads.append(torch.empty_like(x) if needed[2 * i] else None)
            grads.append(_buffer(weight) if needed[2 * i + 1] else None)
        losses = torch.zeros(len(drafts), dtype=torch.float64, device=labels.device)
        rows = CACHED_ROWS.get(labels.device.type, chunk)
        for begin in range(0, len(labels), chunk):
            part = slice(begin, begin + chunk)
            of_teacher = F.linear(teacher_hidden[part], teacher_weight)
            of_drafts = [_logits(products, part) for products in drafts]
            for first in range(0, len(of_teacher), rows):
                few = slice(first, first + rows)
                made: dict[tuple[float, int], Teacher] = {}
                for which, (logits, objective) in enumerate(zip(of_drafts, objectives, strict=True)):
                    key = objective.temperature, objective.teacher_top_k
                    if key not in made:
                        made[key] = Teacher.of(of_teacher[few].to(_wide(dtype)), *key)
                    # The draft's logits are not needed once their gradient is known: it takes their place.
                    losses[which] += _logit_gradient(
                        logits[few].to(_wide(dtype)), made[key], labels[part][few], objective, logits[few]
                    )
            place = 0
            for logits, products in zip(of_drafts, drafts, strict=True):
                for x, weight in products:
                    for_input, for_weight = grads[place : place + 2]
                    if for_input is not None:
                        for_input[part] = logits @ weight
                    if for_weight is not None:
                        _put_product(for_weight, logits, x[part], add=begin > 0)
                    place += 2
        # Not saved for backward: who takes a gradient then owns it, and need not copy it.
        context.grads = grads
        context.owners = [which for which, count in enumerate(counts) for _ in range(2 * count)]
        return losses

    @staticmethod
    def backward(context: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (scales,) = grads
        made: list[Tensor | None] = []
        for owner, grad in zip(context.owners, context.grads, strict=True):
            made.append(None if grad is None else grad.mul_(scales[owner].to(grad.dtype)))
        context.grads = None
        return (*[None] * 6, *made)


def head_losses(
    drafts: Sequence[Products],
    teacher_hidden: Tensor,
    teacher_weight: Tensor,
    labels: Tensor,
    objectives: Sequence[Objective],
    chunk: int | None = None,
) -> Tensor:
    """The loss of each draft summed over tokens, float64 `[drafts]`, differentiable once.

    The teacher's logits are computed once for all drafts. Memory grows with `chunk · vocab`, not with
    `tokens · vocab`; beyond that there are the gradients themselves.

    Args:
        drafts: what each draft's logits are the sum of, see Products; products are taken in the inputs'
            dtype, weights may be float32 masters. Weights without `requires_grad` get no gradient.
        teacher_hidden: the teacher's normed final hidden states `[tokens, hidden]`, in the inputs' dtype.
        teacher_weight: the teacher's LM head `[vocab, hidden]`, in the inputs' dtype.
        labels: the next token at each position, int64 `[tokens]`; used by cross-entropy only.
        objectives: one for each draft.
        chunk: tokens whose logits exist at once (`chunk_of` the vocabulary if left out).
    """
    chunk = chunk or chunk_of(len(teacher_weight))
    flat = [tensor for products in drafts for pair in products for tensor in pair]
    counts = [len(products) for products in drafts]
    return _HeadLosses.apply(counts, teacher_hidden, teacher_weight, labels, objectives, chunk, *flat)


@torch.inference_mode()
def head_kls(
    drafts: Sequence[Products],
    teacher_hidden: Tensor,
    teacher_weight: Tensor,
    temperatures: Sequence[float],
    top_ks: Sequence[int],
    words: Tensor | None = None,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor]:
    """KL(teacher ‖ draft) at each draft's temperature, in nats, and the teacher's mass that the losses do not see.

    Those are over the tokens `words [kept]` (all if left out), and of them over the teacher's top k (0 keeps all).
    Both float64 `[drafts]`, summed over tokens. The KL is that of the whole teacher whatever the losses see.
    """
    dtype, chunk = teacher_hidden.dtype, chunk or chunk_of(len(teacher_weight))
    weights = [[(x, weight.to(dtype)) for x, weight in products] for products in drafts]
    kls = torch.zeros(len(drafts), dtype=torch.float64, device=teacher_hidden.device)
    left_out = torch.zeros_like(kls)
    rows = CACHED_ROWS.get(teacher_hidden.device.type, chunk)
    for begin in range(0, len(teacher_hidden), chunk):
        part = slice(begin, begin + chunk)
        of_teacher = F.linear(teacher_hidden[part], teacher_weight)
        for which, (products, T, top_k) in enumerate(zip(weights, temperatures, top_ks, strict=True)):
            logits = _logits(products, part)
            for first in range(0, len(logits), rows):
                wide = of_teacher[first : first + rows].to(_wide(dtype))
                log_q = F.log_softmax(logits[first : first + rows].to(_wide(dtype)) / T, dim=-1)
                whole = Teacher.of(wide, T, 0)
                kls[which] += _sum_of_p_log_p_over_q(whole, log_q)
                if words is not None or top_k:
                    seen = whole.p if words is None else whole.p[:, words]
                    seen = seen.topk(top_k, dim=-1).values if 0 < top_k < seen.shape[-1] else seen
                    left_out[which] += (1 - seen.sum(-1, dtype=torch.float64)).clamp_(min=0).sum()
    return kls, left_out
