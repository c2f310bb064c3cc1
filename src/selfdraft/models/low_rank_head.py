"""The target's LM head, changed by a product of two thin matrices."""

from typing import cast

import torch
from torch import Tensor, nn

from selfdraft.models.linear import Linear
from selfdraft.models.regression import Regression


class LowRankHead(nn.Module):
    """Logits `x Wᵀ + (x Dᵀ) Uᵀ`: W is the target's head and stays as it is, D and U are trained."""

    def __init__(self, head: Linear, down: Tensor, up: Tensor) -> None:
        """down `[rank, hidden]`, up `[vocab, rank]`."""
        super().__init__()
        self.head, self.down, self.up = head, Linear(down), Linear(up)
        self.out_features = head.out_features

    @classmethod
    def untrained(cls, head: Linear, rank: int, dtype: torch.dtype, seed: int) -> "LowRankHead":
        """The target's head itself: U is zero, D is random, so that U has a gradient."""
        assert head.weight is not None, "copy an exit before the target is packed"
        generator = torch.Generator().manual_seed(seed)
        down = torch.randn((rank, head.in_features), generator=generator) * head.in_features**-0.5
        device = head.weight.device
        return cls(head, down.to(device, dtype), torch.zeros((head.out_features, rank), dtype=dtype, device=device))

    def approach(self, found: Regression) -> None:
        """Let U D be the nearest product of this rank to the head's change by the regression's map.

        The change is W (M − 1) for the map M, weighed by the inputs' second moments; D then gives numbers of mean
        square 1. Where the map is the identity nothing changes.
        """
        weight, down, up = self.head.weight, self.down.weight, self.up.weight
        assert weight is not None
        assert down is not None
        assert up is not None
        change = found.solve().double()
        change.diagonal().sub_(1)
        moments, axes = torch.linalg.eigh(found.squares.double() / found.pairs)
        root = moments.clamp_min(moments.max() * 1e-12).sqrt()
        wide = weight.float()
        squares = change.T @ (wide.T @ wide).double() @ change  # of the change, [hidden, hidden]
        spread = (axes * root).T @ squares @ (axes * root)
        if not spread.diagonal().sum() > 0:
            return
        kept = torch.linalg.eigh(spread)[1][:, -len(down) :]  # [hidden, rank]
        down.data.copy_((axes / root @ kept).T)
        up.data.copy_(wide @ (change @ (axes * root) @ kept).float())

    @classmethod
    def of(cls, head: Linear, tensors: dict[str, Tensor]) -> "LowRankHead":
        """From the tensors of `named_tensors`. Raises KeyError if one is missing."""
        return cls(head, tensors["low_rank_head.down.weight"], tensors["low_rank_head.up.weight"])

    def named_tensors(self) -> dict[str, Tensor]:
        """The trained tensors by name."""
        return {
            "low_rank_head.down.weight": cast(Tensor, self.down.weight),
            "low_rank_head.up.weight": cast(Tensor, self.up.weight),
        }

    def products(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """See `Linear.products`."""
        return self.head.products(x) + self.up.products(self.down(x))

    def by_output(self) -> list[nn.Parameter]:
        """See `Linear.by_output`."""
        return self.head.by_output() + self.up.by_output()

    def rows(self, ids: Tensor) -> "LowRankHead":
        """The head of the tokens `ids [kept]` alone."""
        up = cast(Tensor, self.up.rows(ids).weight)
        return LowRankHead(self.head.rows(ids), cast(Tensor, self.down.weight).data, up.data)

    def forward(self, x: Tensor) -> Tensor:
        """`[…, hidden] -> […, vocab]`."""
        return self.up.add_to(self.head(x), self.down(x))
