"""Capacity `low_rank_head`: a change of the LM head that is a product of two thin matrices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from selfdraft.capacities.capacity import Capacity, Sizes

if TYPE_CHECKING:
    from torch import Tensor, nn

    from selfdraft.models.exit import Exit
    from selfdraft.models.making import Body, Head, Making, Pieces, Saved
    from selfdraft.models.regression import Regression


class OfLowRankHead(Capacity):
    name = "low_rank_head"
    about = "a low-rank change of the head"
    rates = {"low_rank_head": 1e-3}
    rank = 64

    def start(self, making: Making) -> Pieces:
        from selfdraft.models.low_rank_head import LowRankHead

        return making.pieces(
            head=LowRankHead.untrained(making.target.head, making.rank_of(self), making.dtype, making.seed)
        )

    def regressed(self, draft: Exit, found: Regression) -> None:
        from selfdraft.models.low_rank_head import LowRankHead

        assert isinstance(draft.head, LowRankHead)
        draft.head.approach(found)

    def load(self, saved: Saved) -> Pieces:
        from selfdraft.models.low_rank_head import LowRankHead

        saved.check("low_rank_head.down.weight", None, saved.hidden)
        saved.check("low_rank_head.up.weight", saved.vocab, None)
        return saved.pieces(head=LowRankHead.of(saved.target.head, saved.tensors))

    def head_tensors(self, head: Head) -> dict[str, Tensor]:
        from selfdraft.models.low_rank_head import LowRankHead

        assert isinstance(head, LowRankHead)
        return head.named_tensors()

    def parameters(self, head: Head, body: Body | None) -> Iterator[tuple[str, nn.Parameter]]:
        for name, parameter in head.named_parameters():
            if name.startswith(("down.", "up.")):
                yield self.name, parameter

    def trained(self, model: Sizes, layer: int, rank: int) -> int:
        return rank * (model.hidden + model.vocab)


CAPACITY = OfLowRankHead()
