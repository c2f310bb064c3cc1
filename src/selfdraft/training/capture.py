"""One pass of the teacher over the text keeps the hidden states that every draft is trained on."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from selfdraft.errors import StudyError
from selfdraft.files import read_json, whole_folder, write_json
from selfdraft.models.exit import target_identity
from selfdraft.models.llama import Llama
from selfdraft.models.weights import read_tensors
from selfdraft.sequences import Sequences


@torch.inference_mode()
def hidden_states(target: Llama, sequences: Sequences, depths: Sequence[int], label: str = "") -> dict[int, Tensor]:
    """Hidden states at each of `depths`, bfloat16 or float32 as the target, `[tokens, hidden]` each.

    Depth d is the state after d layers; `n_layers` is the teacher's final state before its norm.
    """
    n_layers, size = target.config.n_layers, target.config.hidden_size
    wanted = sorted(set(depths))
    for depth in wanted:
        if not 0 <= depth <= n_layers:
            raise StudyError(f"capture: depth {depth} is not a depth of the target (0…{n_layers})")
    total = len(sequences.tokens)
    kept = {depth: torch.empty((total, size), dtype=target.dtype) for depth in wanted}
    with tqdm(total=total, unit="tok", desc=f"capture {label}".strip(), disable=None) as bar:
        for begin, end in pairwise(sequences.offsets.tolist()):
            tokens = torch.from_numpy(sequences.tokens[begin:end]).long().unsqueeze(0).to(target.device)
            step = target.step([0], end - begin)
            hidden, at = target.embed(tokens), 0
            for depth in wanted:
                hidden, at = target.run(hidden, at, depth, step), depth
                kept[depth][begin:end] = hidden[0].cpu()
            bar.update(end - begin)
    return kept


def state_file(folder: str | Path, depth: int) -> Path:
    """Where the states of a depth are kept."""
    return Path(folder) / f"depth{depth}.safetensors"


def capture(target: Llama, splits: dict[str, Sequences], depths: Sequence[int], out_dir: str | Path) -> None:
    """Write `depthD.safetensors` (keys: the splits) for each depth and the final one, and capture.json."""
    n_layers = target.config.n_layers
    wanted = sorted({*depths, n_layers})
    states = {name: hidden_states(target, sequences, wanted, name) for name, sequences in splits.items()}
    with whole_folder(out_dir) as folder:
        for depth in wanted:
            save_file({name: kept[depth] for name, kept in states.items()}, state_file(folder, depth))
        description = {
            "target": target_identity(target),
            "depths": wanted,
            "dtype": str(target.dtype).removeprefix("torch."),
            "tokens": {name: len(sequences.tokens) for name, sequences in splits.items()},
        }
        write_json(folder / "capture.json", description)


def read_states(folder: str | Path, depth: int, split: str, target: Llama, sequences: Sequences) -> Tensor:
    """The captured states `[tokens, hidden]` of one depth and split.

    Raises StudyError if they were captured from another target or another text, or the file is damaged.
    """
    description = read_json(Path(folder) / "capture.json")
    found, ours = description.get("target"), target_identity(target)
    if found != ours:
        raise StudyError(f"{folder}/capture.json: captured from another target ({found}), this one is {ours}")
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
