"""Answers on disk: part by part while they are made, then as data and captured states that training reads."""

import hashlib
import json
import shutil
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tqdm import tqdm

from selfdraft.answers.decode import KEPT, answers_of
from selfdraft.answers.questions import conversations
from selfdraft.decoding.policy import Policy
from selfdraft.errors import StudyError
from selfdraft.files import saving_tensors, whole_file, whole_folder, write_json
from selfdraft.models.exit import target_identity
from selfdraft.models.llama import Llama
from selfdraft.sequences import Sequences, pack, write_sequences
from selfdraft.training.capture import open_states, state_file, text_digest

SPLITS = ("train", "validation")
LEAST = 8  # tokens that an answer must have room for
FILES = ("*.safetensors", "index.json", "capture.json", "answers.json")


@dataclass(frozen=True)
class How:
    """How answers are made; `length` is of a whole conversation, `batch` the rows that are decoded together."""

    policy: Policy
    max_new_tokens: int
    length: int
    batch: int
    seed: int
    eos_ids: frozenset[int]


def regenerate(
    target: Llama,
    questions: Mapping[str, Sequences],
    counts: np.ndarray,
    depths: Collection[int],
    how: How,
    parts_dir: str | Path,
    out_dir: str | Path,
    origin: Mapping[str, Any],
) -> dict[str, Any]:
    """Answer all questions of each split; leave `SPLIT.safetensors`, index.json, depthD.safetensors and capture.json.

    What is there in `parts_dir` from a run that was killed is taken up: the result is the same to the bit. `counts` are
    written beside the training split; answers.json is `origin` and what was made, which is returned.
    """
    wanted = sorted({*depths, target.config.n_layers})
    asked = {split: conversations(text, split) for split, text in questions.items()}
    described = [
        target_identity(target),
        str(target.dtype),
        {split: text_digest(text) for split, text in questions.items()},
        wanted,
        [how.policy.name, how.policy.temperature, how.policy.top_p, how.policy.top_k],
        [how.max_new_tokens, how.length, how.batch, how.seed, sorted(how.eos_ids)],
    ]
    key = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]
    parts = Path(parts_dir) / key
    parts.mkdir(parents=True, exist_ok=True)
    with whole_folder(out_dir, FILES) as folder:
        answered = {split: _answer(target, split, asked[split], wanted, how, parts) for split in questions}
        made = {split: _joined(answered[split], questions[split]) for split in questions}
        for split, sequences in made.items():
            write_sequences(folder, split, sequences, counts if split == "train" else None)
        names = {
            split: [{"id": one, "origin": other} for one, other in zip(found.ids, found.origins, strict=True)]
            for split, found in made.items()
        }
        write_json(folder / "index.json", names)
        _write_states(target, answered, wanted, folder)
        summary = dict(origin) | {
            "policy": {"temperature": how.policy.temperature, "top_p": how.policy.top_p, "top_k": how.policy.top_k},
            "max_new_tokens": how.max_new_tokens,
            "seed": how.seed,
            "splits": {
                split: {
                    "asked": len(questions[split]),
                    "kept": len(found),
                    "tokens": len(found.tokens),
                    "labels": int(found.mask.sum()),
                    "turns": sum(one.turns for one in answered[split]),
                    "ended": sum(one.ended for one in answered[split]),
                }
                for split, found in made.items()
            },
        }
        write_json(folder / "answers.json", summary)
        capture = {
            "target": target_identity(target),
            "teacher": None,
            "depths": wanted,
            "dtype": str(KEPT).removeprefix("torch."),
            "text": {split: text_digest(found) for split, found in made.items()},
        }
        write_json(folder / "capture.json", capture)
    shutil.rmtree(parts)
    return summary


@dataclass
class Conversation:
    """One that is being answered: its questions, what stands so far, and where the states of that are kept."""

    asked: list[list[int]]
    tokens: list[int] = field(default_factory=list)
    mask: list[int] = field(default_factory=list)
    turns: int = 0
    ended: int = 0  # answers that ended by an end-of-turn token
    part: Path | None = None
    at: int = 0  # where its tokens begin in the part

    def prompt(self, length: int) -> list[int] | None:
        """All tokens before the next answer; None where nothing is asked any more, or no room is left for an answer.

        After an answer that was cut nothing is asked.
        """
        if self.turns == len(self.asked) or self.ended < self.turns:
            return None
        prompt = self.tokens + self.asked[self.turns]
        return prompt if len(prompt) + LEAST <= length else None


def _answer(
    target: Llama, split: str, asked: list[list[list[int]]], depths: list[int], how: How, folder: Path
) -> list[Conversation]:
    """Answer a split, all first questions first: a batch is of questions of one turn, sorted by length.

    Each batch's answers and states are a file of `folder`; those that are there already are taken up.
    """
    made = [Conversation(questions) for questions in asked]
    turn = 0
    while going := {row: prompt for row, one in enumerate(made) if (prompt := one.prompt(how.length))}:
        order = sorted(going, key=lambda row: (len(going[row]), row))
        batches = [order[begin : begin + how.batch] for begin in range(0, len(order), how.batch)]
        label = f"answers {split}, turn {turn + 1}"
        for number, rows in enumerate(tqdm(batches, unit="batch", desc=label, disable=None)):
            name = f"{split}-{turn}-{number}"
            path, prompts = folder / f"{name}.safetensors", [going[row] for row in rows]
            if not path.is_file():
                seed = hashlib.sha256(f"{how.seed} {name}".encode()).digest()[:7]
                generator = torch.Generator(target.device).manual_seed(int.from_bytes(seed, "big"))
                limits = [min(how.max_new_tokens, how.length - len(prompt)) for prompt in prompts]
                answers, states = answers_of(target, prompts, depths, how.policy, limits, generator, how.eos_ids)
                tensors = {f"depth{depth}": torch.cat([one[depth] for one in states]) for depth in depths}
                tensors["lengths"] = torch.tensor([len(answer) for answer in answers])
                tensors["answers"] = torch.tensor([token for answer in answers for token in answer])
                with whole_file(path) as temporary, saving_tensors(path):
                    save_file(tensors, temporary)
            _take(made, rows, prompts, path, how)
            if sys.stderr is not None and not sys.stderr.isatty():
                print(f"{label}: batch {number + 1} of {len(batches)}", file=sys.stderr, flush=True)
        turn += 1
    return made


def _take(made: list[Conversation], rows: list[int], prompts: list[list[int]], path: Path, how: How) -> None:
    """Append a part's answers to the conversations."""
    with _opened(path) as part:
        lengths = part.get_tensor("lengths").tolist()
        answers = part.get_tensor("answers").split(lengths)
    at = 0
    for row, prompt, answer in zip(rows, prompts, [answer.tolist() for answer in answers], strict=True):
        one = made[row]
        one.mask += [0] * len(one.asked[one.turns]) + [1] * len(answer)
        one.tokens, one.turns, one.ended = prompt + answer, one.turns + 1, one.ended + (answer[-1] in how.eos_ids)
        one.part, one.at = path, at
        at += len(one.tokens)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as part:
            yield part
    except (SafetensorError, OSError) as error:
        raise StudyError(f"{path}: not a whole part ({error}); remove it and start again") from None


def _joined(made: list[Conversation], questions: Sequences) -> Sequences:
    """The conversations that have an answer. Raises StudyError if there is none."""
    kept = [(row, one) for row, one in enumerate(made) if one.turns]
    if not kept:
        raise StudyError("data.sequence_length: no question leaves room for an answer")
    names = [{"id": questions.ids[row], "origin": questions.origins[row]} for row, _ in kept]
    return pack([(one.tokens, one.mask) for _, one in kept], names)


def _write_states(target: Llama, answered: Mapping[str, list[Conversation]], depths: list[int], folder: Path) -> None:
    """The states of each conversation's last turn one behind the other, a file a depth, as those of `capture`."""
    hidden = target.config.hidden_size
    shapes = {split: (sum(len(one.tokens) for one in made), hidden) for split, made in answered.items()}
    maps = {depth: open_states(state_file(folder, depth), KEPT, shapes) for depth in depths}
    for split, made in answered.items():
        at = 0
        for one in made:
            if one.part is None:
                continue
            with _opened(one.part) as part:
                for depth in depths:
                    states = part.get_slice(f"depth{depth}")[one.at : one.at + len(one.tokens)]
                    maps[depth][split][at : at + len(states)] = states.view(torch.uint16).numpy()
            at += len(one.tokens)
    for arrays in maps.values():
        for array in arrays.values():
            array.flush()  # type: ignore[attr-defined]
