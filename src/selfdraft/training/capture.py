"""One pass of the teacher over the text keeps the hidden states that every draft is trained on."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from selfdraft.errors import StudyError
from selfdraft.files import read_json, whole_folder, write_json
from selfdraft.models.exit import target_identity
from selfdraft.models.llama import Llama
from selfdraft.models.weights import read_tensors
from selfdraft.sequences import Sequences

NUMPY = {torch.bfloat16: ("BF16", np.uint16), torch.float32: ("F32", np.float32), torch.float16: ("F16", np.float16)}


@torch.inference_mode()
def passes(
    target: Llama, sequences: Sequences, depths: Sequence[int], label: str = ""
) -> Iterator[tuple[int, int, dict[int, Tensor]]]:
    """Run the target over each sequence; yields (begin, end, states `[end - begin, hidden]` at each depth).

    Depth d is the state after d layers; `n_layers` is the teacher's final state before its norm.
    """
    n_layers = target.config.n_layers
    wanted = sorted(set(depths))
    for depth in wanted:
        if not 0 <= depth <= n_layers:
            raise StudyError(f"capture: depth {depth} is not a depth of the target (0…{n_layers})")
    with tqdm(total=len(sequences.tokens), unit="tok", desc=f"capture {label}".strip(), disable=None) as bar:
        for begin, end in pairwise(sequences.offsets.tolist()):
            tokens = torch.from_numpy(sequences.tokens[begin:end]).long().unsqueeze(0).to(target.device)
            step = target.step([0], end - begin)
            hidden, at = target.embed(tokens), 0
            states: dict[int, Tensor] = {}
            for depth in wanted:
                hidden, at = target.run(hidden, at, depth, step), depth
                states[depth] = hidden[0].cpu()
            yield begin, end, states
            bar.update(end - begin)


def text_digest(sequences: Sequences) -> str:
    """16 hex digits of the sha256 of a split's tokens and bounds."""
    return hashlib.sha256(sequences.tokens.tobytes() + sequences.offsets.tobytes()).hexdigest()[:16]


def state_file(folder: str | Path, depth: int) -> Path:
    """Where the states of a depth are kept."""
    return Path(folder) / f"depth{depth}.safetensors"


def _open_states(path: Path, dtype: torch.dtype, shapes: dict[str, tuple[int, int]]) -> dict[str, NDArray[Any]]:
    """A safetensors file of the given tensors, mapped for writing: it may be larger than the memory."""
    code, kind = NUMPY[dtype]
    header: dict[str, Any] = {}
    begins: dict[str, int] = {}
    end = 0
    for name, shape in shapes.items():
        begins[name], end = end, end + shape[0] * shape[1] * dtype.itemsize
        header[name] = {"dtype": code, "shape": list(shape), "data_offsets": [begins[name], end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    data = 8 + len(text)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        # Really allocated: a full disk is an error here, not a crash while the map is written.
        os.posix_fallocate(file.fileno(), 0, data + end)
    return {
        name: np.memmap(path, dtype=kind, mode="r+", offset=data + begins[name], shape=shape)
        for name, shape in shapes.items()
        if shape[0]
    }


def capture(target: Llama, splits: dict[str, Sequences], depths: Sequence[int], out_dir: str | Path) -> None:
    """Write `depthD.safetensors` (keys: the splits) for each depth and the final one, and capture.json.

    The states go to disk as they are computed; memory holds those of one sequence.
    """
    n_layers, size = target.config.n_layers, target.config.hidden_size
    wanted = sorted({*depths, n_layers})
    shapes = {name: (len(sequences.tokens), size) for name, sequences in splits.items()}
    with whole_folder(out_dir, ("capture.json", "depth*.safetensors")) as folder:
        maps = {depth: _open_states(state_file(folder, depth), target.dtype, shapes) for depth in wanted}
        for name, sequences in splits.items():
            for begin, end, states in passes(target, sequences, wanted, name):
                for depth, state in states.items():
                    bits = state.view(torch.uint16) if target.dtype == torch.bfloat16 else state
                    maps[depth][name][begin:end] = bits.numpy()
        description = {
            "target": target_identity(target),
            "depths": wanted,
            "dtype": str(target.dtype).removeprefix("torch."),
            "text": {name: text_digest(sequences) for name, sequences in splits.items()},
        }
        write_json(folder / "capture.json", description)


def read_states(folder: str | Path, depth: int, split: str, target: Llama, sequences: Sequences) -> Tensor:
    """The captured states `[tokens, hidden]` of one depth and split.

    Raises StudyError if they were captured from another target or another text, or the file is damaged.
    """
    description = read_json(Path(folder) / "capture.json")
    found, ours = description.get("target") if isinstance(description, dict) else None, target_identity(target)
    if found != ours:
        raise StudyError(f"{folder}/capture.json: captured from another target ({found}), this one is {ours}")
    if description.get("text", {}).get(split) != text_digest(sequences):
        raise StudyError(f"{folder}/capture.json: {split} was captured from another text; capture again")
    path = state_file(folder, depth)
    tensors = read_tensors(path)
    if split not in tensors:
        raise StudyError(f"{path}: no split {split!r}; found {', '.join(sorted(tensors))}")
    states = tensors[split]
    if tuple(states.shape) != (len(sequences.tokens), target.config.hidden_size):
        raise StudyError(
            f"{path}: {split} holds {tuple(states.shape)}, the data has {len(sequences.tokens)} tokens of "
            f"{target.config.hidden_size}; capture again"
        )
    return states.to(target.dtype)
