"""Capacity `adapter`: one attention layer without MLP before the norm, as in Kangaroo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from selfdraft.capacities.capacity import Capacity, Sizes

if TYPE_CHECKING:
    from selfdraft.models.making import Making, Pieces, Saved


class Adapter(Capacity):
    name = "adapter"
    about = "an attention layer without MLP"
    rates = {"norm": 6e-2, "adapter": 1e-2}

    def start(self, making: Making) -> Pieces:
        from selfdraft.models.attention_adapter import AttentionAdapter

        return making.pieces(body=AttentionAdapter.untrained(making.block(making.layer)))

    def load(self, saved: Saved) -> Pieces:
        from selfdraft.models.attention_adapter import AttentionAdapter

        return saved.pieces(body=AttentionAdapter.of(saved.target.config, saved.tensors))

    def trained(self, model: Sizes, layer: int, rank: int) -> int:
        return model.hidden + model.attention_parameters


CAPACITY = Adapter()
