"""Capacity `head_block`: an LM head and a copy of the exit layer, both the exit's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from selfdraft.capacities.capacity import Sizes
from selfdraft.capacities.head import OwnHead

if TYPE_CHECKING:
    from torch import nn

    from selfdraft.models.making import Body, Head, Making, Pieces, Saved


class HeadBlock(OwnHead):
    """The draft runs its copy in the exit layer's place, so that it reads that layer's input."""

    name = "head_block"
    about = "head and a copy of the exit layer"
    rates = {"head": 2e-4, "block": 3e-4}

    def depth(self, layer: int) -> int:
        return layer

    def start(self, making: Making) -> Pieces:
        from selfdraft.models.own_layers import OwnLayers

        return making.pieces(head=making.head(), body=OwnLayers([making.block(making.layer)]))

    def load(self, saved: Saved) -> Pieces:
        from selfdraft.models.own_layers import OwnLayers

        return saved.pieces(head=saved.head(), body=OwnLayers.of(saved.target.config, saved.tensors))

    def parameters(self, head: Head, body: Body | None) -> Iterator[tuple[str, nn.Parameter]]:
        for part, parameter in super().parameters(head, body):
            yield "block" if part == self.name else part, parameter

    def trained(self, model: Sizes, layer: int, rank: int) -> int:
        return model.head + model.layer_parameters


CAPACITY = HeadBlock()
