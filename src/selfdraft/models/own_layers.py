"""Layers that a draft runs itself in place of the target's: a copy of the exit layer, or all with LoRA merged."""

from torch import Tensor, nn

from selfdraft.models.cache import KVCache, Step
from selfdraft.models.config import LlamaConfig
from selfdraft.models.llama import Block


class OwnLayers(nn.Module):
    """Decoder layers one after the other, with a KV cache of their own."""

    def __init__(self, blocks: list[Block]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.cache_layers = len(blocks)

    @classmethod
    def of(cls, config: LlamaConfig, tensors: dict[str, Tensor]) -> "OwnLayers":
        """The one layer of `named_tensors`. Raises KeyError if a tensor is missing, StudyError for a wrong shape."""
        own = {name.removeprefix("block."): tensor for name, tensor in tensors.items() if name.startswith("block.")}
        return cls([Block(config, own)])

    def named_tensors(self) -> dict[str, Tensor]:
        """The tensors of the one layer by name; of several layers, as LoRA makes them, there are no names."""
        (block,) = self.blocks
        assert isinstance(block, Block)
        return {f"block.{name}": tensor for name, tensor in block.named_tensors().items()}

    def forward(self, hidden: Tensor, step: Step, cache: KVCache | None = None) -> Tensor:
        """`[batch, tokens, hidden] -> the same`."""
        for place, block in enumerate(self.blocks):
            hidden = block(hidden, step, cache, place)
        return hidden
