"""Work of the stages that read whole texts: capture, train and quality."""

import math
from dataclasses import dataclass
from typing import Any

from selfdraft.capacities import capacity_named, shared_depth
from selfdraft.plan.dimensions import Dimensions
from selfdraft.plan.work import BYTES, NOTHING, Work, products

# How often a label's row of the vocabulary passes by, in float32: softmaxes, differences and sums of both sides.
LOSS_PASSES, CHECK_PASSES, QUALITY_PASSES = 20, 12, 30
OPTIMISER_BYTES = 32  # a parameter and step: AdamW reads and writes weight and moments, reads the gradient
LOGITS = 2**25  # of one draft at once, see training.losses
CHUNK = 128  # labels that quality works on at once


@dataclass(frozen=True)
class Text:
    """One split: its tokens, those of them that are labels, and the tokens of a sequence."""

    tokens: float
    labels: float
    length: float

    @property
    def sequences(self) -> float:
        return self.tokens / self.length


EMPTY = Text(0, 0, 1)


def through_layers(model: Dimensions, layers: int, tokens: float, context: float) -> float:
    """FLOPs of `tokens` tokens through some layers, each attending to `context` others."""
    return tokens * layers * (2 * model.layer + 4 * context * model.heads * model.head_dim)


def capture(model: Dimensions, dtype: str, texts: list[Text], depths: int) -> Work:
    """One pass over the texts, the states at `depths` depths written."""
    work = NOTHING
    for text in texts:
        flops = through_layers(model, model.layers, text.tokens, text.length / 2)
        read = text.sequences * model.layers * model.layer * BYTES[dtype]
        written = depths * text.tokens * model.hidden * BYTES[dtype]
        work += products(dtype, flops, read, text.sequences) + Work(disk=written)
    return work


def body_flops(model: Dimensions, layer: int, capacity: str, text: Text, ranks: dict[str, int]) -> float:
    """FLOPs of one forward pass of what lies between the exit's input and its norm."""
    own = capacity_named(capacity).own(model, layer, ranks.get(capacity, 0), model.vocab)
    if not own.layers:
        return 2 * (own.body + own.head) * text.labels
    return text.tokens * (2 * own.body + own.layers * 2 * text.length * model.heads * model.head_dim)


def train(
    model: Dimensions,
    teacher: Dimensions,
    layer: int,
    capacity: str,
    learn: Text,
    check: Text,
    settings: dict[str, Any],
) -> Work:
    """One draft: all epochs, and the passes over the validation text, one of them before the first step."""
    dtype, ranks, offline = settings["dtype"], settings["ranks"], settings["mode"] == "offline"
    kind = capacity_named(capacity)
    epochs, per_step = settings["epochs"], settings["tokens_per_step"]
    # a step ends with a whole sequence, so that it is half of one longer than it must be
    steps = max(1.0, epochs * learn.labels / (per_step + learn.labels / max(1.0, learn.sequences) / 2))
    checks = settings["evaluations"] + 1
    # teacher; draft; gradient of its input, and of an own head's weights
    heads = 2 * model.head * (4 if kind.own_head else 3) + 2 * (teacher.head - model.head)
    # weights that are trained have a gradient; those under LoRA, and the attention itself, pass one on
    passes = 2 if kind.frozen else 3
    learnt = epochs * (heads * learn.labels + passes * body_flops(model, layer, capacity, learn, ranks))
    checked = checks * (
        2 * (model.head + teacher.head) * check.labels + body_flops(model, layer, capacity, check, ranks)
    )
    if kind.frozen:  # its thin matrices, merged into the others later
        checked += model.trained(layer, capacity, ranks) * (6 * epochs * learn.tokens + 2 * checks * check.tokens)
    rows = 4 * model.vocab * (LOSS_PASSES * epochs * learn.labels + CHECK_PASSES * checks * check.labels)
    parameters = model.trained(layer, capacity, ranks)
    chunks = epochs * learn.labels / min(per_step, max(64, LOGITS // model.vocab)) + checks * check.labels / 2048
    work = products(dtype, learnt + checked, rows + OPTIMISER_BYTES * parameters * steps, steps + chunks)
    for text, times in ((learn, epochs), (check, checks)):
        if offline:
            work += Work(disk=times * BYTES[dtype] * (text.tokens * model.hidden + text.labels * teacher.hidden))
        else:
            depth = model.layers if teacher is model else shared_depth(layer, capacity)
            work += products(dtype, times * through_layers(model, depth, text.tokens, text.length / 2))
            if teacher is not model:
                work += products(dtype, times * through_layers(teacher, teacher.layers, text.tokens, text.length / 2))
    return work


def quality(model: Dimensions, dtype: str, layer: int, capacity: str, text: Text, ranks: dict[str, int]) -> Work:
    """Draft and teacher on the held-out text, the states read from disk."""
    flops = 4 * model.head * text.labels + body_flops(model, layer, capacity, text, ranks)
    rows = 4 * model.vocab * QUALITY_PASSES * text.labels
    read = BYTES[dtype] * model.hidden * (text.tokens + text.labels)
    chunks = text.sequences * math.ceil(max(1.0, text.labels / max(1.0, text.sequences)) / CHUNK)
    return products(dtype, flops, rows, chunks) + Work(disk=read)
