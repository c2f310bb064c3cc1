"""What a capacity makes its exit from: the target before any training, or the tensors of a checkpoint."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from selfdraft.capacities.capacity import Capacity
from selfdraft.errors import StudyError
from selfdraft.models.cache import KVCache, Step
from selfdraft.models.linear import Linear
from selfdraft.models.llama import Block, Llama
from selfdraft.models.low_rank_head import LowRankHead

Head = Linear | LowRankHead


class Body(Protocol):
    """A module between the exit's input and its norm; `cache_layers` are the layers of KV cache that it needs."""

    cache_layers: int

    def __call__(self, hidden: Tensor, step: Step | None, cache: KVCache | None = None) -> Tensor:
        """`[batch, tokens, hidden] -> the same`; `step` is there if the body has `cache_layers`."""

    def named_tensors(self) -> dict[str, Tensor]:
        """What the checkpoint holds of it."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """As of any module."""


class Pieces(NamedTuple):
    """What lies around an exit's norm; `shared` is the target's head, unless the whole head is the exit's own."""

    head: Head
    body: Body | None
    shared: Linear | None

    @classmethod
    def of(cls, target: Llama, head: Head | None, body: Body | None) -> "Pieces":
        """With the target's head, or one that adds to it, or one of the exit's own."""
        own = isinstance(head, Linear) and head is not target.head
        return cls(head or target.head, body, None if own else target.head)


@dataclass(frozen=True)
class Making:
    """An exit after `layer` of `target` is started. Copies are made in `copied`; with None the target's own are shared.

    `ranks` are those of capacities that have one, `seed` decides their random halves.
    """

    target: Llama
    layer: int
    copied: torch.dtype | None
    ranks: Mapping[str, int]
    seed: int

    @property
    def dtype(self) -> torch.dtype:
        """The number format of tensors that the exit does not share."""
        assert self.copied is not None, "a capacity with tensors of its own needs a number format for them"
        return self.copied

    @property
    def device(self) -> torch.device:
        return self.target.device

    @property
    def hidden(self) -> int:
        return self.target.config.hidden_size

    def rank_of(self, capacity: Capacity) -> int:
        return self.ranks[capacity.name]

    def head(self) -> Linear:
        """A copy of the target's LM head."""
        if self.copied is None:
            return self.target.head
        assert self.target.head.weight is not None, "copy an exit before the target is packed"
        return Linear(self.target.head.weight.detach().to(self.copied, copy=True))

    def block(self, layer: int, dtype: torch.dtype | None = None) -> Block:
        """A copy of one of the target's layers, in `dtype` if that is another one."""
        source = self.target.layers[layer]
        assert isinstance(source, Block)
        if self.copied is None:
            return source
        named = source.named_tensors().items()
        kept = dtype or self.copied
        return Block(self.target.config, {name: tensor.detach().to(kept, copy=True) for name, tensor in named})

    def pieces(self, head: Head | None = None, body: Body | None = None) -> Pieces:
        """What lies around the norm; without `head` it is the target's."""
        return Pieces.of(self.target, head, body)


@dataclass(frozen=True)
class Saved:
    """A checkpoint's tensors by name, on the target's device and in its number format."""

    target: Llama
    layer: int
    tensors: dict[str, Tensor]

    @property
    def hidden(self) -> int:
        return self.target.config.hidden_size

    @property
    def vocab(self) -> int:
        return self.target.config.vocab_size

    def check(self, name: str, *shape: int | None) -> None:
        """Raise StudyError unless the tensor has this shape (None: any size); KeyError if it is missing."""
        found = tuple(self.tensors[name].shape)
        if len(found) != len(shape) or any(size not in (None, have) for size, have in zip(shape, found, strict=True)):
            raise StudyError(f"{name} is {found}, the target needs {shape}")

    def head(self) -> Linear:
        """The exit's own LM head."""
        self.check("head.weight", self.vocab, self.hidden)
        return Linear(self.tensors["head.weight"])

    def blocks(self, count: int) -> list[Block]:
        """The target's first layers."""
        return [block for block in self.target.layers[:count] if isinstance(block, Block)]

    def pieces(self, head: Head | None = None, body: Body | None = None) -> Pieces:
        """What lies around the norm; without `head` it is the target's."""
        return Pieces.of(self.target, head, body)
