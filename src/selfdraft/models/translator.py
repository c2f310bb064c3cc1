"""An affine map in front of the exit norm: the tuned lens."""

from typing import cast

import torch
from torch import Tensor, nn

from selfdraft.models.cache import KVCache, Step
from selfdraft.models.linear import Linear


class Translator(nn.Module):
    """`h -> h + W h + b` on hidden states; untrained it changes nothing (Belrose et al. 2023, section 2)."""

    cache_layers = 0

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        """weight `[hidden, hidden]`, bias `[hidden]`."""
        super().__init__()
        self.map = Linear(weight, bias)

    @classmethod
    def untrained(cls, size: int, dtype: torch.dtype, device: torch.device) -> "Translator":
        """The map that changes nothing."""
        zeros = torch.zeros((size + 1, size), dtype=dtype, device=device)
        return cls(zeros[:-1].clone(), zeros[-1].clone())

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> "Translator":
        """From the tensors of `named_tensors`. Raises KeyError if one is missing."""
        return cls(tensors["translator.weight"], tensors["translator.bias"])

    def named_tensors(self) -> dict[str, Tensor]:
        """The trained tensors by name."""
        return {"translator.weight": cast(Tensor, self.map.weight), "translator.bias": cast(Tensor, self.map.bias)}

    def forward(self, hidden: Tensor, step: Step | None = None, cache: KVCache | None = None) -> Tensor:
        """`[batch, tokens, hidden] -> the same`."""
        return self.map.add_to(hidden, hidden)
