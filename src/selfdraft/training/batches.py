"""Whole conversations grouped into steps of about the same number of answer tokens."""

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

    index: int64 `[sequences, longest]`, where each token's states stand in the captured tensors
    (padding repeats the sequence's last token); positions: int64 `[tokens]`, the flat places in
    `index` whose next token is an answer token; labels: int64 `[tokens]`, those next tokens.
    """

    index: Tensor
    positions: Tensor
    labels: Tensor


def predicted(sequences: Sequences, begin: int, end: int) -> np.ndarray:
    """Places in `[begin, end - 1)` whose next token is an answer token of the same sequence."""
    return begin + np.flatnonzero(sequences.mask[begin + 1 : end])


def make_batch(sequences: Sequences, which: list[int]) -> Batch:
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


def batches(sequences: Sequences, tokens_per_step: int, order: list[int] | None = None) -> list[Batch]:
    """Group the sequences, in `order`, so that each batch but the last holds ≥ `tokens_per_step` labels.

    Raises StudyError if no token is an answer token.
    """
    counts = [len(predicted(sequences, begin, end)) for begin, end in pairwise(sequences.offsets.tolist())]
    if sum(counts) == 0:
        raise StudyError("data: no answer token to learn from; every token is masked")
    groups: list[list[int]] = [[]]
    room = tokens_per_step
    for i in order if order is not None else range(len(sequences)):
        if counts[i] == 0:
            continue
        if room <= 0:
            groups.append([])
            room = tokens_per_step
        groups[-1].append(i)
        room -= counts[i]
    return [make_batch(sequences, group) for group in groups if group]
