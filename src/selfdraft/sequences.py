"""Token sequences with a mask of their labels, and prompts, as the `data` stage leaves them on disk.

Data that are only evaluated on may have no train and validation split, no sequences or no prompts:
their files are then not there, and who reads them is told so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from selfdraft.errors import StudyError
from selfdraft.files import read_json, saving_tensors, whole_file

SPLITS = ("train", "validation", "held_out")
DTYPES = {"tokens": np.int32, "mask": np.uint8, "offsets": np.int64}


@dataclass(frozen=True)
class Sequences:
    """The conversations, or pieces of text, of one split, one after the other.

    tokens: int32 [total]; mask: uint8 [total], 1 where the token is a label to predict (from the
    token before it): an answer's, or all of a text's but the first; offsets: int64 [sequences + 1], sequence i is
    tokens[offsets[i]:offsets[i + 1]]. `ids` and `origins` name each sequence's conversation or piece.
    """

    tokens: NDArray[np.int32]
    mask: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    ids: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each sequence, [sequences]."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class Prompt:
    """Text up to where an answer begins; `tokens` ends with the template's generation prompt."""

    id: str
    origin: str
    tokens: tuple[int, ...]
    text: str


def pack(rows: list[tuple[list[int], list[int]]], index: list[dict[str, str]]) -> Sequences:
    """Join (tokens, mask) pairs of equal length, in order, with one {"id", "origin"} of `index` each."""
    lengths = [len(tokens) for tokens, _ in rows]
    return Sequences(
        tokens=np.array([token for tokens, _ in rows for token in tokens], dtype=np.int32),
        mask=np.array([bit for _, mask in rows for bit in mask], dtype=np.uint8),
        offsets=np.cumsum([0, *lengths], dtype=np.int64),
        ids=tuple(row["id"] for row in index),
        origins=tuple(row["origin"] for row in index),
    )


def write_sequences(
    data_dir: str | Path, split: str, sequences: Sequences, counts: NDArray[np.int64] | None = None
) -> None:
    """Write the arrays of one split; the caller writes the names of all splits into index.json.

    `counts [largest id + 1]`: how often each token occurs in all of the split's text, see `read_counts`.
    """
    arrays = {name: np.ascontiguousarray(getattr(sequences, name), dtype=DTYPES[name]) for name in DTYPES}
    if counts is not None:
        arrays["counts"] = counts
    path = Path(data_dir) / f"{split}.safetensors"
    with whole_file(path) as temporary, saving_tensors(path):
        save_file(arrays, temporary)


def absent(data_dir: str | Path, what: str) -> str:
    """Why a part of the data is not there: the rest of the folder is, or nothing is."""
    made = (Path(data_dir) / "index.json").is_file()
    return f"these data were made without {what}" if made else "`selfdraft data` writes it"


def read_sequences(data_dir: str | Path, split: str) -> Sequences:
    """Read one split (train, validation or held_out). Raises StudyError for a missing or malformed file."""
    path = Path(data_dir) / f"{split}.safetensors"
    if not path.is_file():
        raise StudyError(f"{path}: file not found; {absent(data_dir, f'{split} sequences')}")
    try:
        arrays = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise StudyError(f"{path}: not a whole safetensors file ({error}); run `selfdraft data` again") from None
    for name, dtype in DTYPES.items():
        if name not in arrays or arrays[name].dtype != dtype or arrays[name].ndim != 1:
            found = f"{arrays[name].dtype} {list(arrays[name].shape)}" if name in arrays else "nothing"
            raise StudyError(f"{path}: {name}: found {found}, expected a list of {np.dtype(dtype)}")
    tokens, mask, offsets = arrays["tokens"], arrays["mask"], arrays["offsets"]
    whole = len(offsets) > 0 and offsets[0] == 0 and offsets[-1] == len(tokens) == len(mask)
    if not whole or (np.diff(offsets) <= 0).any():
        raise StudyError(f"{path}: offsets do not divide {len(tokens)} tokens and {len(mask)} mask values")
    index_path = Path(data_dir) / "index.json"
    index = read_json(index_path)
    names = index.get(split) if isinstance(index, dict) else None
    if not isinstance(names, list) or len(names) != len(offsets) - 1:
        raise StudyError(f"{index_path}: {split}: expected {len(offsets) - 1} names, one for each sequence of {path}")
    return Sequences(
        tokens,
        mask,
        offsets,
        ids=tuple(str(row["id"]) for row in names),
        origins=tuple(str(row["origin"]) for row in names),
    )


def read_counts(data_dir: str | Path, vocab: int) -> NDArray[np.int64]:
    """How often each of `vocab` tokens occurs in the text of the training split, what is not trained on included.

    Data that were written without the counts have those of their sequences. Raises StudyError as `read_sequences`.
    """
    sequences = read_sequences(data_dir, "train")
    found = load_file(Path(data_dir) / "train.safetensors").get("counts")
    counts = np.bincount(sequences.tokens) if found is None else found
    if len(counts) > vocab:
        raise StudyError(f"{data_dir}/train.safetensors: token {len(counts) - 1} is not one of the target's {vocab}")
    return np.pad(counts, (0, vocab - len(counts))).astype(np.int64)


def read_prompts(data_dir: str | Path) -> list[Prompt]:
    """Read prompts.json. Raises StudyError for a missing or malformed file."""
    path = Path(data_dir) / "prompts.json"
    if not path.is_file():
        raise StudyError(f"{path}: file not found; {absent(data_dir, 'prompts')}")
    rows: Any = read_json(path)
    keys = {"id": str, "origin": str, "tokens": list, "text": str}
    if not isinstance(rows, list) or not rows:
        raise StudyError(f"{path}: expected a list of at least one prompt")
    for number, row in enumerate(rows):
        for key, kind in keys.items():
            if not isinstance(row, dict) or not isinstance(row.get(key), kind):
                raise StudyError(f"{path}: prompt {number}: {key}: expected a {kind.__name__}")
        if not row["tokens"] or not all(isinstance(token, int) for token in row["tokens"]):
            raise StudyError(f"{path}: prompt {number}: tokens: expected at least one whole number")
    return [Prompt(row["id"], row["origin"], tuple(row["tokens"]), row["text"]) for row in rows]


def some_prompts(data_dir: str | Path, count: int, section: str) -> list[Prompt]:
    """The first `count` prompts; all for 0. Raises StudyError naming the config's section if there are fewer."""
    prompts = read_prompts(data_dir)
    if count > len(prompts):
        raise StudyError(f"{section}.prompts: {count} asked, {data_dir}/prompts.json has {len(prompts)}")
    return prompts[: count or None]


def read_name(data_dir: str | Path) -> str:
    """The name of the data, as the tables' `dataset` column has it. Raises StudyError if it is not there."""
    path = Path(data_dir) / "sources.json"
    description = read_json(path)
    if not isinstance(description, dict) or not isinstance(description.get("name"), str):
        raise StudyError(f"{path}: name: missing; `selfdraft data` writes it")
    return str(description["name"])


def check_room(prompts: Sequence[Prompt], new_tokens: int, context: int, data_dir: str | Path) -> None:
    """Raise StudyError for the first prompt that leaves no room for `new_tokens` in `context` positions."""
    for prompt in prompts:
        if len(prompt.tokens) + new_tokens > context:
            raise StudyError(
                f"{data_dir}/prompts.json: prompt {prompt.id}: its {len(prompt.tokens)} tokens and "
                f"{new_tokens} new ones (max_new_tokens + gamma) do not fit into the target's context of {context}"
            )
