"""Training one exit on captured states: KL to the teacher, AdamW, warm-up and decay."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from selfdraft.errors import StudyError
from selfdraft.models.exit import Exit
from selfdraft.models.llama import Llama
from selfdraft.sequences import Sequences
from selfdraft.training.batches import Batch, batches
from selfdraft.training.losses import Objective, head_loss

OBJECTIVES = ("kl", "kl_ce")
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


@dataclass(frozen=True)
class Settings:
    """The config's `training` section; see workflow/schemas/config.schema.yaml for each key.

    `tokens_per_step` counts answer tokens, and is a lower bound: a step ends with a whole conversation.
    """

    objective: str = "kl"
    ce_weight: float = 0.0
    epochs: int = 1
    tokens_per_step: int = 256
    learning_rate: dict[str, float] = field(default_factory=lambda: {"norm": 3e-3, "head": 3e-3, "block": 1e-3})
    warmup_fraction: float = 0.1
    weight_decay: float = 0.0
    gradient_clip: float = 1.0
    evaluations: int = 5
    dtype: str = "bfloat16"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise StudyError(f"training.objective: {self.objective!r} is unknown; one of {', '.join(OBJECTIVES)} is")
        if self.dtype not in DTYPES:
            raise StudyError(f"training.dtype: {self.dtype!r} is unknown; one of {', '.join(DTYPES)} is")
        for key in ("epochs", "tokens_per_step", "evaluations", "seed"):
            value, least = getattr(self, key), 0 if key == "seed" else 1
            if type(value) is not int or value < least:
                raise StudyError(f"training.{key}: {value!r} is not a whole number ≥ {least}")
        for key in ("gradient_clip", "weight_decay", "ce_weight", "warmup_fraction"):
            value, positive = getattr(self, key), key == "gradient_clip"
            if type(value) not in (int, float) or not 0 <= value < math.inf or (positive and value == 0):
                raise StudyError(f"training.{key}: {value!r} is not a number {'>' if positive else '≥'} 0")
        if self.objective == "kl_ce" and self.ce_weight == 0:
            raise StudyError("training.ce_weight: 0, but objective kl_ce needs a weight > 0")
        parts = ("norm", "head", "block")
        if not isinstance(self.learning_rate, dict) or set(self.learning_rate) != set(parts):
            raise StudyError(
                f"training.learning_rate: found {self.learning_rate!r}, one rate each for {', '.join(parts)} is right"
            )
        for part, rate in self.learning_rate.items():
            if type(rate) not in (int, float) or not rate >= 0:
                raise StudyError(f"training.learning_rate.{part}: {rate!r} is not a number ≥ 0")

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> "Settings":
        """Raises StudyError for an unknown key."""
        unknown = sorted(set(settings) - set(cls.__dataclass_fields__))
        if unknown:
            raise StudyError(f"training.{unknown[0]}: unknown key; known are {', '.join(cls.__dataclass_fields__)}")
        return cls(**settings)

    def objective_at(self, temperature: float) -> Objective:
        if not 0 < temperature < math.inf:
            raise StudyError(f"T: {temperature} is not a finite number > 0")
        return Objective(temperature, self.ce_weight if self.objective == "kl_ce" else 0.0)


@dataclass(frozen=True)
class Text:
    """Sequences with their captured states: the draft's input and the teacher's final state `[tokens, hidden]`."""

    sequences: Sequences
    shared: Tensor
    final: Tensor


def batch_loss(
    target: Llama, draft: Exit, text: Text, batch: Batch, objective: Objective, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Mean loss and mean KL at T over the batch's labels; products in `dtype`."""
    hidden = text.shared[batch.index].to(target.device, dtype)  # [sequences, longest, hidden]
    if draft.block is not None:
        step = target.step([0], hidden.shape[1])
        step.cos, step.sin = step.cos.to(dtype), step.sin.to(dtype)
        hidden = draft.block(hidden, step)
    picked = hidden.flatten(0, 1)[batch.positions.to(target.device)]
    final = text.final[batch.index.flatten()[batch.positions]].to(target.device, dtype)
    with torch.no_grad():
        teacher_hidden = target.norm(final)
        assert target.head.weight is not None
        teacher_weight = target.head.weight.to(dtype)
    assert draft.head.weight is not None
    return head_loss(
        draft.norm(picked),
        draft.head.weight,
        teacher_hidden,
        teacher_weight,
        batch.labels.to(target.device),
        objective,
    )


@torch.inference_mode()
def mean_kl(target: Llama, draft: Exit, text: Text, objective: Objective, dtype: torch.dtype) -> float:
    """Mean KL(teacher ‖ draft) at T over all labels of the text, nats per token."""
    total, count = 0.0, 0
    for batch in batches(text.sequences, 2048):
        _, kl = batch_loss(target, draft, text, batch, objective, dtype)
        total += float(kl) * len(batch.labels)
        count += len(batch.labels)
    return total / count


def learning_rate_factor(step: int, steps: int, warmup: int) -> float:
    """Linear warm-up over `warmup` steps, then cosine decay to zero after `steps`. Steps count from 0."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def train(
    target: Llama,
    draft: Exit,
    learn: Text,
    check: Text,
    temperature: float,
    settings: Settings,
    log: Callable[[str], object],
) -> dict[str, Any]:
    """Train `draft` in place and leave it with the tensors of the lowest held-out KL seen.

    `log` takes one JSON line a step. The step-0 line is the untrained exit. Raises StudyError when the
    loss is not finite or the held-out KL diverges. Returns a summary for the checkpoint's config.
    """
    objective, dtype = settings.objective_at(temperature), DTYPES[settings.dtype]
    groups = [
        {"params": parameters, "lr": settings.learning_rate[part], "base": settings.learning_rate[part]}
        for part, parameters in draft.parameter_groups().items()
    ]
    for parameter in draft.parameters():
        parameter.requires_grad_(True)
    optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=settings.weight_decay, fused=True)
    generator = torch.Generator().manual_seed(settings.seed)
    plan = [
        batch
        for _ in range(settings.epochs)
        for batch in batches(
            learn.sequences,
            settings.tokens_per_step,
            torch.randperm(len(learn.sequences), generator=generator).tolist(),
        )
    ]
    steps, warmup = len(plan), math.ceil(settings.warmup_fraction * len(plan))
    checks = {round((k + 1) * steps / settings.evaluations) for k in range(settings.evaluations)}
    untrained = best = mean_kl(target, draft, check, objective, dtype)
    ceiling = 2 * max(untrained, math.log(target.config.vocab_size))
    best_tensors, best_step = _copy(draft), 0
    row: dict[str, Any] = {"step": 0, "tokens": 0, "loss": None, "lr": 0.0, "held_out_kl": untrained}
    log(json.dumps(row | {"tokens_per_second": None}))
    tokens, busy = 0, 0.0
    bar = tqdm(plan, unit="step", desc=f"train layer {draft.layer} {draft.capacity} T={temperature:g}", disable=None)
    for done, batch in enumerate(bar, start=1):
        begin = time.perf_counter()
        factor = learning_rate_factor(done - 1, steps, warmup)
        for group in optimiser.param_groups:
            group["lr"] = group["base"] * factor
        loss, _ = batch_loss(target, draft, learn, batch, objective, dtype)
        if not math.isfinite(float(loss.detach())):
            raise StudyError(f"training: loss is {float(loss.detach()):g} at step {done}; lower training.learning_rate")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(draft.parameters(), settings.gradient_clip)
        optimiser.step()
        tokens += len(batch.labels)
        busy += time.perf_counter() - begin
        held_out = None
        if done in checks:
            held_out = mean_kl(target, draft, check, objective, dtype)
            if not held_out <= ceiling:
                raise StudyError(
                    f"training: diverged at step {done}: held-out KL {held_out:.3g} nats, untrained {untrained:.3g}; "
                    "lower training.learning_rate"
                )
            if held_out < best:
                best, best_step, best_tensors = held_out, done, _copy(draft)
        lr = max(group["lr"] for group in optimiser.param_groups)
        row = {
            "step": done,
            "tokens": tokens,
            "loss": float(loss.detach()),
            "lr": lr,
            "held_out_kl": held_out,
        }
        log(json.dumps(row | {"tokens_per_second": round(tokens / busy, 1)}))
        bar.set_postfix(loss=f"{row['loss']:.3f}", kl=f"{best:.3f}")
    for parameter, kept in zip(draft.parameters(), best_tensors, strict=True):
        parameter.data.copy_(kept)
        parameter.requires_grad_(False)
    return {
        "steps": steps,
        "tokens": tokens,
        "best_step": best_step,
        "held_out_kl": best,
        "untrained_held_out_kl": untrained,
        "tokens_per_second": round(tokens / busy, 1),
    }


def _copy(draft: Exit) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in draft.parameters()]
