"""Capacity `lora`: LoRA on all layers that the exit keeps, merged into copies of them when it drafts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from selfdraft.capacities.capacity import Capacity, Sizes

if TYPE_CHECKING:
    from torch import nn

    from selfdraft.models.making import Body, Head, Making, Pieces, Saved


class Lora(Capacity):
    """The draft changes all layers that it keeps, so that it shares the embedding alone."""

    name = "lora"
    about = "LoRA on all kept layers"
    rates = {"norm": 6e-2, "lora": 1e-3}
    rank = 16

    def depth(self, layer: int) -> int:
        return 0

    def start(self, making: Making) -> Pieces:
        from selfdraft.models.lora import LoraLayers

        # The layers stay as they are, so that their copies keep the target's number format.
        blocks = [making.block(place, making.target.dtype) for place in range(making.layer + 1)]
        return making.pieces(body=LoraLayers(blocks, making.rank_of(self), making.seed).to(making.device))

    def load(self, saved: Saved) -> Pieces:
        from selfdraft.models.lora import merged

        return saved.pieces(body=merged(saved.target.config, saved.blocks(saved.layer + 1), saved.tensors))

    def parameters(self, head: Head, body: Body | None) -> Iterator[tuple[str, nn.Parameter]]:
        for name, parameter in body.named_parameters() if body is not None else ():
            if ".lora_" in name:
                yield self.name, parameter

    def trained(self, model: Sizes, layer: int, rank: int) -> int:
        h, queries, keys = model.hidden, model.heads * model.head_dim, model.kv_heads * model.head_dim
        # one pair of thin matrices for q, k and v together, one for gate and up, one for o and one for down
        pairs = (h + queries + 2 * keys) + (queries + h) + (h + 2 * model.inner) + (model.inner + h)
        return (layer + 1) * rank * pairs


CAPACITY = Lora()
