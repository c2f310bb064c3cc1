"""CUDA graphs: a function of fixed shapes captured once, replayed with new inputs."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


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
