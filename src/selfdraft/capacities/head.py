"""Capacity `head`: an LM head of the exit's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from selfdraft.capacities.capacity import Capacity, Sizes

if TYPE_CHECKING:
    from torch import Tensor, nn

    from selfdraft.models.exit import Exit
    from selfdraft.models.linear import Linear
    from selfdraft.models.making import Body, Head, Making, Pieces, Saved
    from selfdraft.models.regression import Regression


class OwnHead(Capacity):
    name = "head"
    about = "the whole head"
    rates = {"head": 2e-4}

    def start(self, making: Making) -> Pieces:
        return making.pieces(head=making.head())

    def regressed(self, draft: Exit, found: Regression) -> None:
        weight = cast("Linear", draft.head).weight
        assert weight is not None
        weight.data.copy_(weight.data.float() @ found.solve())

    def load(self, saved: Saved) -> Pieces:
        return saved.pieces(head=saved.head())

    def head_tensors(self, head: Head) -> dict[str, Tensor]:
        weight = cast("Linear", head).weight
        assert weight is not None, "packed weights cannot be saved"
        return {"head.weight": weight}

    def parameters(self, head: Head, body: Body | None) -> Iterator[tuple[str, nn.Parameter]]:
        for parameter in head.parameters():
            yield "head", parameter
        yield from super().parameters(head, body)

    def trained(self, model: Sizes, layer: int, rank: int) -> int:
        return model.head


CAPACITY = OwnHead()
