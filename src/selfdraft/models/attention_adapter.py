"""One attention layer without MLP between the exit layer and the frozen head, as in Kangaroo."""

from torch import Tensor, nn

from selfdraft.models.cache import KVCache, Step
from selfdraft.models.config import LlamaConfig
from selfdraft.models.linear import RMSNorm
from selfdraft.models.llama import Attention, Block, check_shapes


class AttentionAdapter(nn.Module):
    """`h -> h + attention(norm(h))` with a KV cache of its own (Liu et al. 2024, Kangaroo, section 3.1).

    Untrained, its output matrix is zero and it changes nothing; the rest is the exit layer's own attention.
    """

    cache_layers = 1

    def __init__(self, config: LlamaConfig, tensors: dict[str, Tensor]) -> None:
        """Take tensors by transformers' names. Raises KeyError if one is missing, StudyError for a wrong shape."""
        super().__init__()
        check_shapes(config, tensors, mlp=False)
        self.norm = RMSNorm(tensors["input_layernorm.weight"], config.norm_eps)
        self.attention = Attention(config, tensors)

    @classmethod
    def untrained(cls, block: Block) -> "AttentionAdapter":
        """From a private copy of the exit layer."""
        made = cls(block.config, block.named_tensors())
        for name, tensor in made.attention.named_tensors().items():
            if name.startswith("self_attn.o_proj"):
                tensor.data.zero_()
        return made

    @classmethod
    def of(cls, config: LlamaConfig, tensors: dict[str, Tensor]) -> "AttentionAdapter":
        """From the tensors of `named_tensors`."""
        return cls(config, {n.removeprefix("adapter."): t for n, t in tensors.items() if n.startswith("adapter.")})

    def named_tensors(self) -> dict[str, Tensor]:
        """The trained tensors by name."""
        named = {"input_layernorm.weight": self.norm.weight} | self.attention.named_tensors()
        return {f"adapter.{name}": tensor for name, tensor in named.items()}

    def forward(self, hidden: Tensor, step: Step, cache: KVCache | None = None) -> Tensor:
        """`[batch, tokens, hidden] -> the same`."""
        return self.attention.o.add_to(hidden, self.attention.mix(self.norm(hidden), step, cache, 0))
