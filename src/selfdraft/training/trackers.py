"""What may take the lines of a training log besides its file: TensorBoard, Weights & Biases. Neither is needed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selfdraft.errors import StudyError

Log = Callable[[str], object]


def scalars(line: str) -> tuple[int, dict[str, float]]:
    """The step of a log's line and its numbers by name; those of a mapping as `rates/head`."""
    row: dict[str, Any] = json.loads(line)
    flat = {key: value for key, value in row.items() if not isinstance(value, dict)}
    for key, inner in row.items():
        if isinstance(inner, dict):
            flat |= {f"{key}/{name}": value for name, value in inner.items()}
    step = int(flat.pop("step"))
    return step, {key: float(value) for key, value in flat.items() if value is not None}


def tensorboard(folder: str | Path, name: str) -> Log:
    """Lines to TensorBoard's event files in `folder / name`. Raises StudyError without the package."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise StudyError("--tensorboard: the package tensorboard is missing; pip install tensorboard") from None
    # A run that goes on tells its former lines again: what stands there from step 0 on is replaced.
    writer: Any = SummaryWriter(str(Path(folder) / name), purge_step=0)  # type: ignore[no-untyped-call]

    def log(line: str) -> None:
        step, values = scalars(line)
        for key, value in values.items():
            writer.add_scalar(key, value, step)
        writer.flush()

    return log


def wandb(project: str, name: str) -> Log:
    """Lines to a run of Weights & Biases. Raises StudyError without the package."""
    try:
        import wandb as service
    except ImportError:
        raise StudyError("--wandb: the package wandb is missing; pip install wandb") from None
    run = service.init(project=project, name=name, id=name, resume="allow", reinit="create_new")

    def log(line: str) -> None:
        step, values = scalars(line)
        run.log(values, step=step)

    return log


def all_of(logs: list[Log]) -> Log:
    """One log that hands each line to all."""

    def log(line: str) -> None:
        for each in logs:
            each(line)

    return log
