"""What the machine can do at most: read bandwidth and matrix rates, to compare measured rates with."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from selfdraft.provenance import surroundings

PATIENCE = 0.25  # seconds of one matrix product
SMALLEST = 256  # rows of a product that still says something of the rate


def _median_seconds(work: Callable[[], object], device: str, repeats: int = 9) -> float:
    def timed() -> float:
        if device != "cpu":
            torch.cuda.synchronize()
        begin = time.perf_counter()
        work()
        if device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter() - begin

    if repeats > 1:
        timed()
    return statistics.median(timed() for _ in range(repeats))


def read_bandwidth(device: str, megabytes: int = 512) -> float:
    """GB/s at which all threads together read a float32 tensor far larger than any cache."""
    data = torch.ones(megabytes * 2**18, device=device)
    # sum over a long inner axis reads once and writes next to nothing
    return data.nbytes / _median_seconds(lambda: data.view(1024, -1).sum(dim=1), device) / 1e9


def matrix_rate(dtype: torch.dtype, device: str, size: int = 1024) -> float:
    """GFLOP/s of a square matrix product; of a smaller one where this one takes a processor longer than PATIENCE.

    Without instructions for bfloat16 it takes seconds.
    """
    while size > SMALLEST and 8 * _product_seconds(dtype, device, size // 2, repeats=1) > PATIENCE:
        size //= 2
    return 2 * size**3 / _product_seconds(dtype, device, size) / 1e9


def _product_seconds(dtype: torch.dtype, device: str, size: int, repeats: int = 9) -> float:
    a = torch.randn(size, size, device=device).to(dtype)
    b = torch.randn(size, size, device=device).to(dtype)
    return _median_seconds(lambda: a @ b, device, repeats)


def measure(device: str = "cpu") -> dict[str, Any]:
    """The contents of machine.json."""
    return {
        "device": device,
        **surroundings.machine(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "read_bandwidth_gb_s": round(read_bandwidth(device), 2),
        "matrix_gflop_s": {
            str(dtype).removeprefix("torch."): round(matrix_rate(dtype, device), 1)
            for dtype in (torch.bfloat16, torch.float32)
        },
        "packages": surroundings.packages(),
    }
