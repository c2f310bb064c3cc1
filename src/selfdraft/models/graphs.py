"""CUDA graphs: decoding steps of fixed shape, captured once and replayed, on KV caches that outlive a generation."""

from collections.abc import Callable, Hashable
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from selfdraft.errors import StudyError
from selfdraft.models.cache import KVCache, Step

SMALLEST_WINDOW = 256  # slots; larger windows are powers of two, so that few graphs serve every length

Output = TypeVar("Output", Tensor, tuple[Tensor, ...])


class Captured:
    """`function(*inputs)` captured for inputs of these shapes; calls copy theirs in and replay.

    The output is the same memory in every call: use or copy it before the next one. The function may write
    to memory that lives as long as this object (a KV cache), and must not wait for the device.
    """

    def __init__(self, function: Callable[..., Any], *inputs: Tensor, warm_up: int = 3) -> None:
        self._inputs = tuple(tensor.clone() for tensor in inputs)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # libraries choose their kernels and allocate before the capture
            for _ in range(warm_up):
                function(*self._inputs)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._output = function(*self._inputs)

    def __call__(self, *inputs: Tensor) -> Any:
        for mine, given in zip(self._inputs, inputs, strict=True):
            mine.copy_(given, non_blocking=True)
        self._graph.replay()
        return self._output


class Model(Protocol):
    """What Replays needs of a model: tables, sizes, and new caches."""

    cos: Tensor
    sin: Tensor
    config: Any

    def new_cache(self, batch: int, capacity: int, layers: int | None = None) -> KVCache: ...


class Replays:
    """The captured steps of one target. One generation at a time: the next one takes over the caches.

    `capture` makes a replayable function of a function and example inputs; tests on the CPU give one that
    only keeps the memory of inputs and outputs fixed, as a graph does.
    """

    def __init__(self, target: Model, capture: Callable[..., Callable[..., Any]] = Captured) -> None:
        self.target, self.capture = target, capture
        self._caches: dict[Hashable, KVCache] = {}
        self._steps: dict[Hashable, Callable[..., Any]] = {}
        self._owner: object = None
        self.captures = 0  # steps captured so far
        self.filled: object = None  # whose text lies in the cache of the target's own steps

    def take(self, owner: object) -> None:
        """`owner` decodes from now on; whoever did before may not go on."""
        self._owner = owner

    def cache(self, name: Hashable, batch: int, capacity: int, layers: int | None = None) -> KVCache:
        """The cache of this name and batch, at least `capacity` slots; made, or made anew, where it is too small."""
        key = (name, batch)
        found = self._caches.get(key)
        if found is None or found.capacity < capacity:
            whole = min(window_of(capacity), self.target.config.max_positions)
            found = self._caches[key] = self.target.new_cache(batch, max(capacity, whole), layers)
            # graphs of the smaller cache write to memory that nobody reads any more
            self._steps = {step: made for step, made in self._steps.items() if step[1] != key}  # type: ignore[index]
        return found

    def run(
        self,
        owner: object,
        name: Hashable,
        cache: Hashable,
        function: Callable[[Tensor, Step], Output],
        x: Tensor,
        starts: Tensor,
        end: int,
    ) -> Output:
        """`function(x, step)`, a tensor or several, replayed; the result is memory of its own.

        Args:
            name: what the function is: calls of the same name, shapes and window share one graph.
            cache: name of the KV cache that it writes to.
            x: tokens or hidden states `[batch, tokens, …]`; starts: positions of their first tokens, `[batch]`.
            end: slots that must be visible, known to the host.
        """
        if owner is not self._owner:
            raise StudyError("decoding: another generation has begun on this target; one at a time")
        key = (cache, x.shape[0])
        capacity = self._caches[key].capacity
        window = min(window_of(end), capacity)
        if end > capacity:
            raise StudyError(f"KV cache: {end} slots needed, {capacity} allocated; shorten the prompt or gamma")
        step = (name, key, tuple(x.shape), window)
        if step not in self._steps:
            c, tokens = self.target.config, x.shape[1]

            def fixed(x: Tensor, starts: Tensor) -> Output:
                heads = (c.n_heads, c.n_kv_heads)
                made = Step.of_fixed_shape(self.target.cos, self.target.sin, starts, tokens, heads, window)
                return function(x, made)

            self._steps[step] = self.capture(fixed, x, starts)
            self.captures += 1
        result: Output = self._steps[step](x, starts)
        if isinstance(result, tuple):
            return tuple(tensor.clone() for tensor in result)
        return result.clone()


def window_of(slots: int) -> int:
    """The smallest window that holds `slots`: a power of two, 256 at least."""
    return max(SMALLEST_WINDOW, 1 << (slots - 1).bit_length())
