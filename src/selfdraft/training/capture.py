"""One pass of the teacher over the text keeps the hidden states that every draft is trained on."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from selfdraft.errors import StudyError
from selfdraft.files import link_or_copy, read_json, scratch_folder, whole_folder, write_json
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


TEACHER = "teacher"  # the name of the file with another teacher's final states


def text_digest(sequences: Sequences) -> str:
    """16 hex digits of the sha256 of a split's tokens and bounds: the data and the tokenisation in one."""
    return hashlib.sha256(sequences.tokens.tobytes() + sequences.offsets.tobytes()).hexdigest()[:16]


def state_file(folder: str | Path, depth: int | str) -> Path:
    """Where the states of a depth are kept, or the final ones of a teacher that is not the target."""
    return Path(folder) / (f"{TEACHER}.safetensors" if depth == TEACHER else f"depth{depth}.safetensors")


def _header(code: str, itemsize: int, shapes: dict[str, tuple[int, int]]) -> tuple[bytes, dict[str, int], int]:
    """The header of a safetensors file of these tensors, where each begins, and where the last ends."""
    header: dict[str, Any] = {}
    begins: dict[str, int] = {}
    end = 0
    for name, shape in shapes.items():
        begins[name], end = end, end + shape[0] * shape[1] * itemsize
        header[name] = {"dtype": code, "shape": list(shape), "data_offsets": [begins[name], end]}
    text = json.dumps(header).encode()
    return text + b" " * (-len(text) % 8), begins, end


def open_states(path: Path, dtype: torch.dtype, shapes: dict[str, tuple[int, int]]) -> dict[str, NDArray[Any]]:
    """A safetensors file of the given tensors, mapped for writing: it may be larger than the memory."""
    code, kind = NUMPY[dtype]
    text, begins, end = _header(code, dtype.itemsize, shapes)
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


class Pass:
    """One model's pass over some splits: which states it can leave, in which files, and how large they are."""

    def __init__(self, model: Llama, splits: dict[str, Sequences], depths: Sequence[int | str]) -> None:
        """`depths` are depths of the model, or TEACHER alone for its final state."""
        self.model, self.splits, self.depths = model, splits, depths
        self.shapes = {name: (len(text.tokens), model.config.hidden_size) for name, text in splits.items()}
        code, _ = NUMPY[model.dtype]
        text, _, end = _header(code, model.dtype.itemsize, self.shapes)
        self.bytes = 8 + len(text) + end  # of one file
        described = [target_identity(model), str(model.dtype), {n: text_digest(t) for n, t in sorted(splits.items())}]
        self.key = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]

    def missing(self, cache: Path) -> list[int | str]:
        """The depths whose file is not in the cache, or not of the right size: one that was cut is made again."""
        files = {depth: state_file(cache / self.key, depth) for depth in self.depths}
        return [depth for depth, file in files.items() if not file.is_file() or file.stat().st_size != self.bytes]

    @torch.inference_mode()
    def write(self, cache: Path, depths: Sequence[int | str]) -> None:
        """Run the model and leave the files of `depths` in the cache, each whole or not at all."""
        folder = cache / self.key
        folder.mkdir(parents=True, exist_ok=True)
        with scratch_folder(folder / "pass") as temporary:
            last = self.model.config.n_layers
            maps = {d: open_states(state_file(temporary, d), self.model.dtype, self.shapes) for d in depths}
            for name, text in self.splits.items():
                wanted = [last if depth == TEACHER else int(depth) for depth in depths]
                for begin, end, states in passes(self.model, text, wanted, name):
                    for depth in depths:
                        state = states[last if depth == TEACHER else int(depth)]
                        bits = state.view(torch.uint16) if self.model.dtype == torch.bfloat16 else state
                        maps[depth][name][begin:end] = bits.numpy()
            for depth, arrays in maps.items():
                for array in arrays.values():
                    array.flush()  # type: ignore[attr-defined]
                os.replace(state_file(temporary, depth), state_file(folder, depth))


def capture(
    target: Llama,
    splits: dict[str, Sequences],
    depths: Sequence[int],
    out_dir: str | Path,
    cache_dir: str | Path | None = None,
    teacher: Llama | None = None,
) -> None:
    """Write `depthD.safetensors` (keys: the splits) for each depth and the final one, and capture.json.

    The states go to disk as they are computed; memory holds those of one sequence. `cache_dir` keeps
    them by model, number format and tokens: what is there already is linked, not computed, so that a
    new depth costs one pass up to it. With another `teacher` its final states are kept beside, in
    teacher.safetensors. How much will be written is said first. Raises StudyError if the disk has no
    room for it.
    """
    wanted: list[int | str] = [*sorted({*depths, target.config.n_layers})]
    for depth in wanted:
        if not 0 <= int(depth) <= target.config.n_layers:
            raise StudyError(f"capture: depth {depth} is not a depth of the target (0…{target.config.n_layers})")
    jobs = [Pass(target, splits, wanted)]
    if teacher is not None:
        jobs.append(Pass(teacher, splits, [TEACHER]))
    own = ("capture.json", "depth*.safetensors", "teacher.safetensors")
    with whole_folder(out_dir, own) as folder:
        kept = scratch_folder(folder.with_name("states")) if cache_dir is None else nullcontext(Path(cache_dir))
        with kept as cache:
            missing = [job.missing(cache) for job in jobs]
            _announce(jobs, missing, cache)
            for job, lacking in zip(jobs, missing, strict=True):
                if lacking:
                    job.write(cache, lacking)
                for depth in job.depths:
                    link_or_copy(state_file(cache / job.key, depth), state_file(folder, depth))
        description = {
            "target": target_identity(target),
            "teacher": None if teacher is None else target_identity(teacher),
            "depths": wanted,
            "dtype": str(target.dtype).removeprefix("torch."),
            "text": {name: text_digest(sequences) for name, sequences in splits.items()},
        }
        write_json(folder / "capture.json", description)


def _announce(jobs: Sequence[Pass], missing: Sequence[Sequence[int | str]], cache: Path) -> None:
    """Say how much is written and how much is there already. Raises StudyError if the disk has no room."""
    needed = sum(job.bytes * len(lacking) for job, lacking in zip(jobs, missing, strict=True))
    files, reused = sum(map(len, missing)), sum(len(job.depths) for job in jobs) - sum(map(len, missing))
    tokens = sum(shape[0] for shape in jobs[0].shapes.values())
    print(
        f"capture: {tokens:,} tokens, {files} depths to compute ({needed / 1e9:.3g} GB), {reused} kept from before",
        file=sys.stderr,
    )
    existing = next(path for path in (cache, *cache.resolve().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise StudyError(
            f"{cache}: the hidden states need {needed / 1e9:.3g} GB, {free / 1e9:.3g} GB are free; make room, or "
            "choose fewer train_tokens, fewer layers, or training.mode online"
        )


def read_states(
    folder: str | Path, depth: int, split: str, target: Llama, sequences: Sequences, teacher: Llama | None = None
) -> Tensor:
    """The captured states `[tokens, hidden]` of one depth and split; with `teacher` its final ones instead.

    The file is mapped, not read: rows come from disk when they are used, in the format they were
    captured in. Raises StudyError if they were
    captured from another model or another text, or the file is damaged.
    """
    description = read_json(Path(folder) / "capture.json")
    if not isinstance(description, dict):
        raise StudyError(f"{folder}/capture.json: not made by `selfdraft capture`")
    for key, model in (("target", target), ("teacher", teacher)):
        found, ours = description.get(key), None if model is None else target_identity(model)
        if ours is not None and found != ours:
            raise StudyError(f"{folder}/capture.json: captured from another {key} ({found}), this one is {ours}")
    if description.get("text", {}).get(split) != text_digest(sequences):
        raise StudyError(f"{folder}/capture.json: {split} was captured from another text; capture again")
    model = target if teacher is None else teacher
    path = state_file(folder, depth if teacher is None else TEACHER)
    tensors = read_tensors(path)
    if split not in tensors:
        raise StudyError(f"{path}: no split {split!r}; found {', '.join(sorted(tensors))}")
    states = tensors[split]
    if tuple(states.shape) != (len(sequences.tokens), model.config.hidden_size):
        raise StudyError(
            f"{path}: {split} holds {tuple(states.shape)}, the data has {len(sequences.tokens)} tokens of "
            f"{model.config.hidden_size}; capture again"
        )
    return states
