"""What compilers make of one decoding step: eager, torch.compile and CUDA graphs, full model and early exits."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from selfdraft.evaluation.number_format import number_format
from selfdraft.models.cache import Step
from selfdraft.models.graphs import Captured
from selfdraft.models.llama import Llama

COLUMNS = (
    *("depth", "mode", "dtype", "batch", "context", "device", "threads", "compile_s"),
    *("step_ms", "step_ms_low", "step_ms_high", "tokens_per_second", "ratio_to_eager", "note"),
)
MODES = ("eager", "compile", "compile reduce-overhead", "cuda graph")
StepFunction = Callable[[Tensor, Tensor], Tensor]


def fixed_step(target: Llama, depth: int, context: int, room: int) -> StepFunction:
    """One token of each row through `depth` layers, norm and head: (tokens `[batch, 1]`, starts `[batch]`) -> logits.

    All shapes are fixed; the cache has `context + room` slots and attention spans them all.
    """
    caches: dict[int, Any] = {}
    c = target.config

    def step(tokens: Tensor, starts: Tensor) -> Tensor:
        batch = tokens.shape[0]
        if batch not in caches:
            caches[batch] = target.new_cache(batch, context + room, layers=depth)
        heads = (c.n_heads, c.n_kv_heads)
        made = Step.of_fixed_shape(target.cos, target.sin, starts, 1, heads, context + room)
        return target.logits(target.run(target.embed(tokens), 0, depth, made, caches[batch]))

    return step


def own_step(target: Llama, depth: int, context: int, room: int, batch: int) -> Callable[[Tensor, int], Tensor]:
    """The step as the loop runs it: attention over the filled cache alone."""
    cache = target.new_cache(batch, context + room, layers=depth)

    def step(tokens: Tensor, start: int) -> Tensor:
        made = target.step([start] * batch, 1, cache.capacity)
        return target.logits(target.run(target.embed(tokens), 0, depth, made, cache))

    return step


@torch.inference_mode()
def compile_rows(
    target: Llama, packed: Llama, depths: Sequence[int], batch: int, context: int, steps: int, modes: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """A row per depth and mode; step times are medians with quartiles, of `steps` steps at `context` and after.

    `packed` is the target as the loop runs it (eager), `target` the same with plain weights, for the
    compilers. Step times of a depth are taken mode after mode, step by step in turn.
    """
    device = target.device
    tokens = torch.randint(0, target.config.vocab_size, (batch, 1), device=device)
    for depth in depths:
        rows: dict[str, dict[str, Any]] = {}
        runs: dict[str, Callable[[int], Any]] = {}
        for mode in modes:
            row: dict[str, Any] = {"depth": depth, "mode": mode, "compile_s": None, "note": ""}
            rows[mode] = row
            try:
                runs[mode], row["compile_s"] = prepared(mode, target, packed, depth, batch, context, steps, tokens)
            except NotAvailable as reason:
                row["note"] = str(reason)
        seconds: dict[str, list[float]] = {mode: [] for mode in runs}
        for number in range(steps):
            for mode, run in runs.items():
                seconds[mode].append(clocked(lambda: run(context + number), device))  # noqa: B023 (called at once)
        eager = statistics.median(seconds["eager"]) if "eager" in seconds else None
        for mode, row in rows.items():
            row |= {"dtype": number_format(target), "batch": batch, "context": context}
            row |= {"device": device.type, "threads": torch.get_num_threads()}
            if mode in seconds:
                low, middle, high = statistics.quantiles(seconds[mode], n=4)
                row |= {"step_ms": 1000 * middle, "step_ms_low": 1000 * low, "step_ms_high": 1000 * high}
                row |= {"tokens_per_second": batch / middle, "ratio_to_eager": eager / middle if eager else None}
            yield row


class NotAvailable(Exception):
    """A mode that this machine cannot run; says why."""


def prepared(
    mode: str, target: Llama, packed: Llama, depth: int, batch: int, context: int, steps: int, tokens: Tensor
) -> tuple[Callable[[int], Any], float | None]:
    """A step of the mode, warm, as a function of its position; and the seconds that its first call took."""
    device = target.device
    if mode == "eager":
        own = own_step(packed, depth, context, steps, batch)
        for _ in range(3):
            own(tokens, context)
        return lambda position: own(tokens, position), None
    starts = [torch.full((batch,), position, device=device) for position in range(context, context + steps)]
    step = fixed_step(target, depth, context, steps)
    step(tokens, starts[0])  # the cache is made outside of what is compiled
    if mode == "cuda graph":
        if device.type != "cuda":
            raise NotAvailable("CUDA graphs need a CUDA device")
        begin = time.perf_counter()
        captured = Captured(step, tokens, starts[0])
        return lambda position: captured(tokens, starts[position - context]), time.perf_counter() - begin
    if mode == "compile reduce-overhead" and device.type != "cuda":
        raise NotAvailable("reduce-overhead means CUDA graphs; on the CPU it is the default mode")
    torch._dynamo.reset()
    how = "default" if mode == "compile" else "reduce-overhead"
    compiled = torch.compile(step, fullgraph=True, dynamic=False, mode=how)
    try:
        seconds = clocked(lambda: compiled(tokens, starts[0]), device)
    except torch._dynamo.exc.TorchDynamoException as error:  # no C++ compiler, for one
        raise NotAvailable(f"torch.compile failed: {str(error).splitlines()[0]}") from None
    for start in starts[:3]:
        compiled(tokens, start)
    return lambda position: compiled(tokens, starts[position - context]), seconds


def clocked(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds of one call, the device's work included."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    begin = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begin
