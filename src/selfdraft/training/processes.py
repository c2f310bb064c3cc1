"""The processes that train one draft together, each on its share of every step; or one alone."""

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from selfdraft.errors import StudyError
from selfdraft.models.runtime import resolve_device


@dataclass(frozen=True)
class Processes:
    """Process `rank` of `size`, joined by torch.distributed if there are several."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum over all processes, in place; returns it."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def agree(self, number: int, device: torch.device) -> bool:
        """Whether all processes give the same number."""
        extremes = torch.tensor([number, -number], device=device)
        if self.size > 1:
            dist.all_reduce(extremes, dist.ReduceOp.MAX)
        greatest, least = extremes.tolist()
        return bool(greatest == -least)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum each parameter's gradient over all processes; one that had no share counts as zero."""
        for parameter in parameters if self.size > 1 else ():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            dist.all_reduce(parameter.grad)

    def leave(self) -> None:
        """Take leave of the others, after the last exchange."""
        if self.size > 1:
            dist.destroy_process_group()


def launch(size: int, device: str) -> None:
    """Become `accelerate launch` with `size` processes of this very command; return in those processes.

    Raises StudyError if `size` is less than 1, or this machine has GPUs, but not one for each.
    """
    if size < 1:
        raise StudyError(f"--processes: {size} is not ≥ 1")
    if "WORLD_SIZE" in os.environ:
        return
    gpus = torch.cuda.device_count() if device != "cpu" else 0
    if 0 < gpus < size:
        raise StudyError(f"--processes: {size} need a GPU each, this job has {gpus}; ask for as many GPUs as processes")
    command = [
        *(sys.executable, "-m", "accelerate.commands.launch"),
        # --multi_gpu starts as many processes as asked, whether there are GPUs or not; port 0 is a free one
        *("--multi_gpu", "--num_processes", str(size), "--num_machines", "1", "--main_process_port", "0"),
        *("--mixed_precision", "no", "--dynamo_backend", "no"),
        *("-m", "selfdraft", *sys.argv[1:]),
    ]
    os.execv(sys.executable, command)


def join(device: str) -> tuple[Processes, str]:
    """The processes that `torchrun` or `accelerate launch` started (one without them), and this one's device.

    With several, `auto` and `cuda` mean the GPU of the process's local rank; they talk by NCCL there
    and by gloo on CPUs. Raises StudyError if there are fewer GPUs than processes on this machine.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Processes(), device
    local = int(os.environ.get("LOCAL_RANK", os.environ.get("RANK", "0")))
    device = resolve_device(device)
    if device == "cuda":
        if local >= torch.cuda.device_count():
            raise StudyError(
                f"--device {device}: process {local} of this machine has no GPU of its own, "
                f"{torch.cuda.device_count()} are visible; start as many processes as GPUs"
            )
        device = f"cuda:{local}"
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
        dist.init_process_group("nccl", device_id=torch.device(device))
    else:
        dist.init_process_group("gloo")
    return Processes(dist.get_rank(), size), device
