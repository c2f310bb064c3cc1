"""The hidden states that drafts and losses read: kept from one teacher pass, or computed in every step."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from selfdraft.models.llama import Llama
from selfdraft.sequences import Sequences
from selfdraft.training.batches import Batch


@dataclass(frozen=True)
class Loaded:
    """The states of one batch, on the target's device.

    inputs: by depth, `[sequences, longest, hidden]`; final: the teacher's last states before its norm,
    `[labels, teacher's hidden]`.
    """

    inputs: Mapping[int, Tensor]
    final: Tensor


class States(Protocol):
    """Where a split's states come from."""

    @property
    def sequences(self) -> Sequences:
        """The split's text."""

    def load(self, batch: Batch, depths: Collection[int]) -> Loaded:
        """The states of a batch at some depths, and the teacher's."""


@dataclass(frozen=True)
class CapturedStates:
    """Offline: states kept by `selfdraft capture`, `[tokens, hidden]` each, by depth; and the teacher's final ones.

    `target` says on which device and in which number format they are wanted.
    """

    sequences: Sequences
    by_depth: Mapping[int, Tensor]
    final: Tensor
    target: Llama

    def load(self, batch: Batch, depths: Collection[int]) -> Loaded:
        """Read from the files; only the batch's rows are touched."""
        at = batch.index.flatten()[batch.positions]
        wanted = self.target.device, self.target.dtype
        return Loaded(
            {depth: self.by_depth[depth][batch.index].to(*wanted) for depth in depths},
            self.final[at].to(*wanted),
        )


@dataclass(frozen=True)
class ComputedStates:
    """Online: target and teacher run on every batch; nothing is kept on disk."""

    sequences: Sequences
    target: Llama
    teacher: Llama

    @torch.no_grad()
    def load(self, batch: Batch, depths: Collection[int]) -> Loaded:
        """Run the target as deep as is needed, and the teacher to its end."""
        device = self.target.device
        tokens = torch.from_numpy(self.sequences.tokens)[batch.index].long().to(device)
        same = self.teacher is self.target
        last = self.target.config.n_layers
        inputs = _states(self.target, tokens, {*depths, *([last] if same else [])})
        if same:
            final = inputs[last]
        else:
            final = _states(self.teacher, tokens, {self.teacher.config.n_layers})[self.teacher.config.n_layers]
        return Loaded(
            {depth: inputs[depth].clone() for depth in depths},
            final.flatten(0, 1)[batch.positions.to(device)],
        )


def _states(model: Llama, tokens: Tensor, depths: Collection[int]) -> dict[int, Tensor]:
    """`[sequences, longest, hidden]` at each depth; padding stands behind what it could disturb."""
    step = model.step([0], tokens.shape[1])
    hidden, at = model.embed(tokens), 0
    found = {}
    for depth in sorted(depths):
        hidden, at = model.run(hidden, at, depth, step), depth
        found[depth] = hidden
    return found
