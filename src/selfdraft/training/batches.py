"""Whole conversations grouped into steps of about the same number of answer tokens, and steps into shares."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from selfdraft.errors import StudyError
from selfdraft.sequences import Sequences


@dataclass(frozen=True)
class Batch:
    """Some sequences, right-padded.

    index: int64 `[sequences, longest]`, where each token stands in the split's arrays (padding repeats
    the sequence's last token); positions: int64 `[labels]`, the flat places in `index` whose next token
    is an answer token; labels: int64 `[labels]`, those next tokens.
    """

    index: Tensor
    positions: Tensor
    labels: Tensor


def predicted(sequences: Sequences, begin: int, end: int) -> np.ndarray:
    """Places in `[begin, end - 1)` whose next token is an answer token of the same sequence."""
    return begin + np.flatnonzero(sequences.mask[begin + 1 : end])


def label_counts(sequences: Sequences) -> list[int]:
    """Answer tokens of each sequence that can be predicted.

    Raises StudyError if there is none in any.
    """
    counts = [len(predicted(sequences, begin, end)) for begin, end in pairwise(sequences.offsets.tolist())]
    if sum(counts) == 0:
        raise StudyError("data: no answer token to learn from; every token is masked")
    return counts


def make_batch(sequences: Sequences, which: Sequence[int]) -> Batch:
    """The batch of the sequences numbered `which`."""
    spans = [(int(sequences.offsets[i]), int(sequences.offsets[i + 1])) for i in which]
    longest = max(end - begin for begin, end in spans)
    rows = [np.minimum(np.arange(begin, begin + longest), end - 1) for begin, end in spans]
    places, labels = [], []
    for row, (begin, end) in enumerate(spans):
        at = predicted(sequences, begin, end)
        places.append(row * longest + at - begin)
        labels.append(sequences.tokens[at + 1])
    return Batch(
        torch.from_numpy(np.stack(rows)),
        torch.from_numpy(np.concatenate(places)),
        torch.from_numpy(np.concatenate(labels).astype(np.int64)),
    )


def steps(counts: Sequence[int], tokens_per_step: int, order: Sequence[int] | None = None) -> list[list[int]]:
    """Sequence numbers in `order`, grouped so that each group but the last has ≥ `tokens_per_step` labels.

    `counts` are the sequences' labels; a sequence without labels is left out.
    """
    groups: list[list[int]] = [[]]
    room = tokens_per_step
    for i in order if order is not None else range(len(counts)):
        if counts[i] == 0:
            continue
        if room <= 0:
            groups.append([])
            room = tokens_per_step
        groups[-1].append(i)
        room -= counts[i]
    return [group for group in groups if group]


def shares(which: Sequence[int], counts: Sequence[int], parts: int) -> list[list[int]]:
    """One step's sequences dealt into `parts` of about equal labels; parts may be empty.

    The longest come first, each to the part that has least; within a part the order stays.
    """
    loads = [0] * parts
    part_of: dict[int, int] = {}
    for place in sorted(range(len(which)), key=lambda place: (-counts[which[place]], place)):
        lightest = loads.index(min(loads))
        part_of[place] = lightest
        loads[lightest] += counts[which[place]]
    return [[i for place, i in enumerate(which) if part_of[place] == part] for part in range(parts)]
