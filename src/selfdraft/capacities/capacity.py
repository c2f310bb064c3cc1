"""What a capacity says of itself: what of an exit is trained, how it starts, how it is saved and loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:  # the study's plan and the config's check read capacities where there is no torch
    from torch import Tensor, nn

    from selfdraft.models.exit import Exit
    from selfdraft.models.making import Body, Head, Making, Pieces, Saved
    from selfdraft.models.regression import Regression


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


NORM_RATE = 3e-3


class Capacity:
    """A capacity that trains the exit norm alone; others say what is different. Reads no torch until it makes tensors.

    A part is what has a learning rate of its own: `rates` has the usual one of each, and the norm's where it is not
    NORM_RATE.
    `rank` is the usual rank of a capacity that has one.
    `maps`: what the regression that
    `regressed` starts from maps to the target's own final state: "state", the exit's input, or "read", what its head
    reads.
    """

    name: ClassVar[str]
    about: ClassVar[str]  # a few words for help and errors: what is trained beside the norm
    rates: ClassVar[Mapping[str, float]] = {}
    rank: ClassVar[int | None] = None
    maps: ClassVar[str] = "read"

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of its learning rates."""
        return tuple(dict.fromkeys(("norm", *self.rates)))

    def rate(self, part: str) -> float:
        """The usual peak learning rate of a part."""
        return self.rates.get(part, NORM_RATE)

    def depth(self, layer: int) -> int:
        """How many of the target's own layers the draft runs unchanged: the depth of its input."""
        return layer + 1

    def start(self, making: Making) -> Pieces:
        """The head and the body before any training: they change nothing, where that can be."""
        return making.pieces()

    def load(self, saved: Saved) -> Pieces:
        """Head and body of a checkpoint. Raises KeyError for a missing tensor, StudyError for a wrong shape."""
        return saved.pieces()

    def regressed(self, draft: Exit, found: Regression) -> None:
        """Put what the regression found into an exit that was just started.

        Usually there is no room for a map: the norm takes the part of it that scales each number for itself.
        """
        draft.norm.weight.data *= found.scales().to(draft.norm.weight.dtype)

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
