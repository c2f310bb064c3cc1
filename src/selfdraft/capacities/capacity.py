"""What a capacity says of itself: what of an exit is trained, how it starts, is saved and loaded, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:  # the study's plan and the config's check read capacities where there is no torch
    from torch import Tensor, nn

    from selfdraft.models.making import Body, Head, Making, Pieces, Saved


class Sizes(Protocol):
    """What of a model decides costs; `layer` and `attention` are the weights of one layer's matrices."""

    @property
    def vocab(self) -> int: ...
    @property
    def hidden(self) -> int: ...
    @property
    def inner(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def kv_heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...
    @property
    def head(self) -> int: ...
    @property
    def layer(self) -> int: ...
    @property
    def layer_parameters(self) -> int: ...
    @property
    def attention(self) -> int: ...
    @property
    def attention_parameters(self) -> int: ...


@dataclass(frozen=True)
class Own:
    """What a draft step runs beside the target's layers and a head of the usual size.

    body, head: weights of matrices in front of the norm, and beside the head; layers: how many of the
    body's layers attend, each with a KV cache of its own. Matrices of a body that does not attend are
    needed for the labels alone.
    """

    body: int = 0
    head: int = 0
    layers: int = 0


class Capacity:
    """A capacity that trains the exit norm alone; others say what is different. Reads no torch until it makes tensors.

    A part is what has a learning rate of its own: `rates` has the usual one of each, beside the norm's.
    `rank` is the usual rank of a capacity that has one. `own_head`: the whole LM head is trained.
    `frozen`: the body's matrices get no gradient, what is added to them does.
    """

    name: ClassVar[str]
    about: ClassVar[str]  # a few words for help and errors: what is trained beside the norm
    rates: ClassVar[Mapping[str, float]] = {}
    rank: ClassVar[int | None] = None
    own_head: ClassVar[bool] = False
    frozen: ClassVar[bool] = False

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of its learning rates."""
        return ("norm", *self.rates)

    def depth(self, layer: int) -> int:
        """How many of the target's own layers the draft runs unchanged: the depth of its input."""
        return layer + 1

    def start(self, making: Making) -> Pieces:
        """The head and the body before any training: they change nothing, where that can be."""
        return making.pieces()

    def load(self, saved: Saved) -> Pieces:
        """Head and body of a checkpoint. Raises KeyError for a missing tensor, StudyError for a wrong shape."""
        return saved.pieces()

    def head_tensors(self, head: Head) -> dict[str, Tensor]:
        """What the checkpoint holds of the head, by name; the norm and the body's `named_tensors` are saved anyway."""
        return {}

    def parameters(self, head: Head, body: Body | None) -> Iterator[tuple[str, nn.Parameter]]:
        """What is trained beside the exit norm, each with its part's name.

        Usually all of the body: its norms as the part `norm`, the rest as the part that has the capacity's name.
        """
        for name, parameter in body.named_parameters() if body is not None else ():
            yield "norm" if "norm" in name else self.name, parameter

    def trained(self, model: Sizes, layer: int, rank: int) -> int:
        """How many parameters are trained beside the exit norm."""
        return 0

    def own(self, model: Sizes, layer: int, rank: int, vocabulary: int) -> Own:
        """What one draft step runs of its own, with a head of `vocabulary` words."""
        return Own()
