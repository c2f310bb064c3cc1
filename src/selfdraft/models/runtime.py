"""What every stage does first: threads, float32 kept exact, the target loaded."""

import os
import re
from pathlib import Path

import torch

from selfdraft.errors import StudyError
from selfdraft.models.graphs import Replays
from selfdraft.models.llama import Llama, load_target
from selfdraft.threads import usable_cores

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32, "float16": torch.float16}


def resolve_dtype(dtype: str, device: str) -> torch.dtype:
    """`auto` is bfloat16 where the device multiplies it, else float32: without such instructions a CPU takes several
    times as long for it. Raises StudyError for an unknown name."""
    if dtype == "auto":
        slow = device == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return torch.float32 if slow else torch.bfloat16
    if dtype not in DTYPES:
        raise StudyError(f"dtype: {dtype!r} is unknown; one of auto, {', '.join(DTYPES)} is right")
    return DTYPES[dtype]


def resolve_device(device: str) -> str:
    """`auto` is what $SELFDRAFT_DEVICE says, else cuda where there is one, else cpu.

    Raises StudyError if cuda is asked for and missing, or if SLURM gave this job a GPU that PyTorch
    cannot use: the job would run for days on the CPU.
    """
    if device == "auto":
        device = os.environ.get("SELFDRAFT_DEVICE", "auto")
    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        given = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        if "SLURM_JOB_ID" in os.environ and given not in ("", "-1", "NoDevFiles"):
            why = "has no CUDA" if torch.version.cuda is None else "finds no driver for it"
            raise StudyError(
                f"SLURM gave this job GPU {given}, but PyTorch {torch.__version__} {why}; install a CUDA build"
                " (docs/environments.md), or set SELFDRAFT_DEVICE=cpu to compute on the CPU"
            )
        return "cpu"
    if device != "cpu" and not re.fullmatch(r"cuda(:\d+)?", device):
        raise StudyError(f"--device: {device!r} is unknown; cpu, cuda, cuda:N or auto is right")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise StudyError(f"--device {device}: no CUDA device is available; use --device cpu")
    return device


def start(folder: str | Path, dtype: str, device: str = "auto", threads: int | None = None) -> Llama:
    """Load the target for computing in `dtype` (see `resolve_dtype`) on `device`.

    With `threads` CPU threads (torch's own choice if left out), but no more than there are cores that this process
    may use.
    """
    torch.set_num_threads(min(threads or torch.get_num_threads(), usable_cores()))
    torch.backends.cuda.matmul.allow_tf32 = False  # float32 means float32: identity claims rest on it
    device = resolve_device(device)
    target = load_target(folder, resolve_dtype(dtype, device), device)
    if target.device.type == "cuda":
        target.replays = Replays(target)
    return target
