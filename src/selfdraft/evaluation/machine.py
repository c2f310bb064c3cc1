"""What the machine can do at most: read bandwidth and matrix rates, to compare measured rates with."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from selfdraft.provenance import surroundings


def _median_seconds(work: Callable[[], object], device: str, repeats: int = 9) -> float:
    def timed() -> float:
        if device != "cpu":
            torch.cuda.synchronize()
        begin = time.perf_counter()
        work()
        if device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter() - begin

    timed()
    return statistics.median(timed() for _ in range(repeats))


def read_bandwidth(device: str, megabytes: int = 512) -> float:
    """GB/s at which all threads together read a float32 tensor far larger than any cache."""
    data = torch.ones(megabytes * 2**18, device=device)
    # sum over a long inner axis reads once and writes next to nothing
    return data.nbytes / _median_seconds(lambda: data.view(1024, -1).sum(dim=1), device) / 1e9


def matrix_rate(dtype: torch.dtype, device: str, size: int = 1024) -> float:
    """GFLOP/s of a square matrix product."""
    a = torch.randn(size, size, device=device).to(dtype)
    b = torch.randn(size, size, device=device).to(dtype)
    return 2 * size**3 / _median_seconds(lambda: a @ b, device) / 1e9


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
