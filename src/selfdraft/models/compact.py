"""Weights in a quarter of their float32 size: the rows of matrices as int8, each with a scale of its own.

A row is rounded to 255 evenly spaced values between its largest absolute weight and the negative of it, so that no
weight moves by more than half a step: 1/254 of that largest one. Norms, maps and all else that is no matrix of floats
stay as they are.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from selfdraft.errors import StudyError
from selfdraft.files import saving_tensors, write_json

KEY, ROWS = "weights", "int8 rows"  # what config.json says of such weights
SCALE = ".scale"  # behind a matrix's name: the step of each of its rows, float32 [rows]


def compacted(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each matrix of floats `[rows, columns]` as int8 and, under its name and SCALE, its rows' steps; the rest as is.

    Raises StudyError for a matrix with a number that is not finite.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.ndim != 2 or not tensor.is_floating_point():
            found[name] = tensor
            continue
        weight = tensor.float()
        if not weight.isfinite().all():
            raise StudyError(f"{name}: has weights that are NaN or infinite, which no int8 stands for")
        step = weight.abs().amax(1) / 127
        rounded = (weight / step.clamp_min(torch.finfo(torch.float32).tiny)[:, None]).round()
        found[name], found[name + SCALE] = rounded.clamp(-127, 127).to(torch.int8), step
    return found


def save_compact(tensors: dict[str, Tensor], config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Write `draft.safetensors` and `config.json` of a drafter whose config, with weights of another form, is given.

    Returns the config written: `weights` says the form, `trained_bytes` what is stored of what was trained.
    Raises StudyError as `compacted`.
    """
    small = {name: tensor.cpu().contiguous() for name, tensor in compacted(tensors).items()}
    path = folder / "draft.safetensors"
    with saving_tensors(path):
        save_file(small, path)
    path.chmod(0o644)
    stored = sum(t.numel() * t.element_size() for t in small.values() if t.is_floating_point() or t.dtype == torch.int8)
    written = {**config, KEY: ROWS, "trained_bytes": stored}
    write_json(folder / "config.json", written)
    return written


def restored(path: Path, tensors: dict[str, Tensor], weights: object) -> dict[str, Tensor]:
    """The tensors of a checkpoint whose config.json says `weights` (None: nothing) under that key; matrices float32.

    The numbers are those of the int8 times their rows' steps, exactly. Raises StudyError that names the file if its
    tensors are not what `weights` says, or it is of a kind unknown here.
    """
    if weights is None:
        return tensors
    if weights != ROWS:
        raise StudyError(f"{path.with_name('config.json')}: {KEY}: found {weights!r:.60}, {ROWS!r} is what is known")
    steps = {name.removesuffix(SCALE): step for name, step in tensors.items() if name.endswith(SCALE)}
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.endswith(SCALE):
            if name.removesuffix(SCALE) not in tensors:
                raise StudyError(f"{path}: {name}: there is no matrix {name.removesuffix(SCALE)}")
        elif name not in steps:
            if tensor.dtype == torch.int8:
                raise StudyError(f"{path}: {name}: int8 without the tensor {name}{SCALE}")
            found[name] = tensor
        else:
            step = steps[name]
            if tensor.dtype != torch.int8 or tensor.ndim != 2 or step.shape != tensor.shape[:1]:
                raise StudyError(
                    f"{path}: {name}: {tensor.dtype} {tuple(tensor.shape)} with a scale of {tuple(step.shape)}, "
                    "int8 [rows, columns] with one of [rows] is right"
                )
            found[name] = tensor.float() * step.float()[:, None]
    return found
