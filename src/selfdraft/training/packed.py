"""Whole sequences one behind the other, without padding, and the labels that every unrolled step can predict."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from selfdraft.errors import StudyError
from selfdraft.sequences import Sequences


@dataclass(frozen=True)
class Packed:
    """Some sequences of a split.

    index: int64 `[total]`, where each token stands in the split's arrays; lengths: tokens of each sequence;
    labels: int64 `[labels]`, the places in the pack of answer tokens that stand far enough from the sequence's
    beginning for every step to predict them.
    """

    index: Tensor
    lengths: list[int]
    labels: Tensor


def first_label(steps: int) -> int:
    """The first place of a sequence that the last of `steps` steps predicts from a row of its own: row 0."""
    return steps + 1


def labels_of(sequences: Sequences, begin: int, end: int, steps: int) -> np.ndarray:
    """The places in `[begin, end)` that are labels of all steps."""
    start = begin + first_label(steps)
    return start + np.flatnonzero(sequences.mask[start:end])


def packed(sequences: Sequences, which: Sequence[int], steps: int) -> Packed:
    """The sequences numbered `which`, in this order."""
    spans = [(int(sequences.offsets[i]), int(sequences.offsets[i + 1])) for i in which]
    places, labels = 0, []
    for begin, end in spans:
        labels.append(places + labels_of(sequences, begin, end, steps) - begin)
        places += end - begin
    return Packed(
        torch.from_numpy(np.concatenate([np.arange(begin, end) for begin, end in spans])),
        [end - begin for begin, end in spans],
        torch.from_numpy(np.concatenate(labels).astype(np.int64)),
    )


def packed_label_counts(sequences: Sequences, steps: int) -> list[int]:
    """Labels of each sequence. Raises StudyError if there is none in any."""
    spans = pairwise(sequences.offsets.tolist())
    counts = [len(labels_of(sequences, begin, end, steps)) for begin, end in spans]
    if sum(counts) == 0:
        longest = int(sequences.lengths.max(initial=0))
        raise StudyError(
            f"training.ttt_length: {steps} is too long for these data: no answer token stands {first_label(steps)} or "
            f"more behind the beginning of its sequence (the longest has {longest} tokens)"
        )
    return counts
