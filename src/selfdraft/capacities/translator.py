"""Capacity `translator`: an affine map of the hidden state before the norm, the tuned lens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from selfdraft.capacities.capacity import Capacity, Sizes

if TYPE_CHECKING:
    from selfdraft.models.exit import Exit
    from selfdraft.models.making import Making, Pieces, Saved
    from selfdraft.models.regression import Regression


class OfTranslator(Capacity):
    name = "translator"
    about = "an affine map before the norm"
    rates = {"translator": 3e-4}
    maps = "state"

    def start(self, making: Making) -> Pieces:
        from selfdraft.models.translator import Translator

        return making.pieces(body=Translator.untrained(making.hidden, making.dtype, making.device))

    def regressed(self, draft: Exit, found: Regression) -> None:
        from selfdraft.models.translator import Translator

        assert isinstance(draft.body, Translator)
        weight = draft.body.map.weight
        assert weight is not None
        change = found.solve()
        change.diagonal().sub_(1)
        weight.data.copy_(change)

    def load(self, saved: Saved) -> Pieces:
        from selfdraft.models.translator import Translator

        saved.check("translator.weight", saved.hidden, saved.hidden)
        return saved.pieces(body=Translator.of(saved.tensors))

    def trained(self, model: Sizes, layer: int, rank: int) -> int:
        return model.hidden * (model.hidden + 1)


CAPACITY = OfTranslator()
