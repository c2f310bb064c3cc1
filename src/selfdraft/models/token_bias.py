"""A bias of a draft head's logits by the token before: the product of two thin matrices, a bigram of low rank."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfdraft.models.linear import Linear

EMBEDDING, HEAD = "bias.embedding.weight", "bias.head.weight"  # their names in a checkpoint


class TokenBias(nn.Module):
    """`logits + E[token before] Wᵀ`; E has a row for each of the target's tokens, W one for each that is drafted."""

    def __init__(self, embedding: Tensor, head: Tensor) -> None:
        """embedding `[vocab, rank]`, head `[kept, rank]`."""
        super().__init__()
        self.embedding = nn.Parameter(embedding, requires_grad=False)
        self.head = Linear(head)

    @staticmethod
    def untrained(vocab: int, kept: int, rank: int, seed: int) -> dict[str, Tensor]:
        """The tensors of one that changes nothing: W is zero, E random with rows of length about 1, so that W has a
        gradient."""
        generator = torch.Generator().manual_seed(seed)
        embedding = torch.randn((vocab, rank), generator=generator) * rank**-0.5
        return {EMBEDDING: embedding, HEAD: torch.zeros((kept, rank))}

    @staticmethod
    def shapes(vocab: int, kept: int, rank: int) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor of a checkpoint."""
        return {EMBEDDING: (vocab, rank), HEAD: (kept, rank)}

    @property
    def step_bytes(self) -> int:
        """What one token reads: W, and one row of E."""
        return self.head.bytes + self.embedding.shape[1] * self.embedding.element_size()

    def inputs(self, before: Tensor, dtype: torch.dtype) -> Tensor:
        """What W multiplies, `[…, rank]`, of the tokens before, int64 `[…]`."""
        return F.embedding(before, self.embedding).to(dtype)

    def add_to(self, logits: Tensor, before: Tensor) -> Tensor:
        """`[…, kept]` and the tokens before, int64 `[…]`, -> `[…, kept]`."""
        return self.head.add_to(logits, self.inputs(before, logits.dtype))
