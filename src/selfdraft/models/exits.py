"""Several exits of one target, its auxiliary heads: which layers they are after, and the one file that holds them."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from selfdraft.errors import StudyError
from selfdraft.files import read_json, saving_tensors
from selfdraft.models.exit import Exit, check_capacity, check_layer, check_trained_on, exit_of
from selfdraft.models.llama import Llama
from selfdraft.models.weights import read_tensors

FILE = "aux_heads.safetensors"


def spread(count: int, n_layers: int, where: str) -> list[int]:
    """The layers of `count` heads that stand evenly: three are at a quarter, a half and three quarters of the depth.

    Raises StudyError naming `where` if the target has not so many layers before its last one.
    """
    if not 1 <= count < n_layers:
        raise StudyError(f"{where}: {count} heads asked, the target has room for 1…{n_layers - 1}")
    return [math.floor(n_layers * k / (count + 1) + 0.5) - 1 for k in range(1, count + 1)]


def check_heads(heads: Sequence[int], n_layers: int, where: str) -> None:
    """Raise StudyError naming `where` unless these are layers of the target, at least one, and each of them once."""
    for layer in heads:
        check_layer(layer, n_layers, where)
        if list(heads).count(layer) > 1:
            raise StudyError(f"{where}: layer {layer} stands there {list(heads).count(layer)} times; once is right")
    if not heads:
        raise StudyError(f"{where}: no head; at least one is needed")


def save_exits(exits: Iterable[Exit], folder: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """Write `folder/aux_heads.safetensors`: only what was trained, rounded to `dtype`, as `layerL.` and its name."""
    tensors = {
        f"layer{made.layer}.{name}": tensor.to("cpu", dtype).contiguous()
        for made in exits
        for name, tensor in made.named_tensors().items()
    }
    path = folder / FILE
    with saving_tensors(path):
        save_file(tensors, path)
    path.chmod(0o644)


def read_exits_config(folder: str | Path) -> dict[str, Any]:
    """The config.json of a folder of heads. Raises StudyError for a folder of something else."""
    path = Path(folder) / "config.json"
    config = read_json(path)
    for key in ("kind", "drafter", "heads", "capacity", "T", "target"):
        if not isinstance(config, dict) or key not in config:
            raise StudyError(f"{path}: {key}: missing; is this a folder of heads made by `selfdraft train-drafter`?")
    if config["kind"] != "exits":
        raise StudyError(f"{path}: kind: found {config['kind']!r}, exits is right")
    return config


def load_exits(folder: str | Path, target: Llama) -> tuple[list[Exit], dict[str, Any]]:
    """The heads of a folder for `target` (in its dtype, on its device), shallow ones first; also the folder's config.

    Raises StudyError if they were trained on another target, or a file is missing or damaged.
    """
    config = read_exits_config(folder)
    where = str(Path(folder) / "config.json")
    check_trained_on(config, target, where)
    check_capacity(config["capacity"], f"{where}: capacity")
    check_heads(config["heads"], target.config.n_layers, f"{where}: heads")
    path = Path(folder) / FILE
    tensors = {name: tensor.to(target.device, target.dtype) for name, tensor in read_tensors(path).items()}
    exits = []
    for layer in sorted(config["heads"]):
        prefix = f"layer{layer}."
        own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        try:
            exits.append(exit_of(target, layer, config["capacity"], own))
        except KeyError as error:
            raise StudyError(f"{path}: tensor {prefix}{error.args[0]} is missing") from None
        except StudyError as error:
            raise StudyError(f"{path}: layer {layer}: {error}") from None
    return exits, config
