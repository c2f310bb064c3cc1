"""A loss over the frequent tokens alone: which rows of the heads it reads, and the rows that are trained for them."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from selfdraft.training.losses import Products


class Words:
    """The tokens `ids [kept]` that a loss is over; rows of frozen heads are taken once and kept."""

    def __init__(self, ids: Tensor) -> None:
        self.ids = ids
        self._frozen: dict[tuple[int, torch.dtype], tuple[Tensor, Tensor]] = {}

    def of(self, weight: Tensor, dtype: torch.dtype) -> Tensor:
        """The rows `[kept, size]` of a weight `[vocab, size]` that does not change, in `dtype`."""
        key = id(weight), dtype
        if key not in self._frozen:
            self._frozen[key] = weight, weight.detach()[self.ids].to(dtype)  # the weight is held: its id stays its own
        return self._frozen[key][1]


class Rows:
    """The rows of `words` of one draft's heads. Those of a head that is trained are trained in its place.

    A head's other rows would have no gradient: without them a step of the optimiser costs as little as the loss.
    """

    def __init__(self, words: Words, heads: Iterable[nn.Parameter], trained: Iterable[nn.Parameter]) -> None:
        """`heads` have a row a token; `trained` are all parameters of the draft that are trained."""
        self.words = words
        among = {id(parameter) for parameter in trained}
        self._own = {id(head): (head, nn.Parameter(head.data[words.ids])) for head in heads if id(head) in among}

    def in_place_of(self, parameter: nn.Parameter) -> nn.Parameter:
        """What is trained for `parameter`: its rows, or itself if it is no head."""
        return self._own[id(parameter)][1] if id(parameter) in self._own else parameter

    def products(self, products: Products) -> Products:
        """The logits of the words alone."""
        return [(x, self._rows_of(weight, x.dtype)) for x, weight in products]

    def _rows_of(self, weight: Tensor, dtype: torch.dtype) -> Tensor:
        return self._own[id(weight)][1] if id(weight) in self._own else self.words.of(weight, dtype)

    def take(self) -> None:
        """Take the rows as they are in the heads."""
        for head, rows in self._own.values():
            rows.data.copy_(head.data[self.words.ids])

    def put_back(self) -> None:
        """Write the rows into the heads."""
        for head, rows in self._own.values():
            head.data.index_copy_(0, self.words.ids, rows.data)
