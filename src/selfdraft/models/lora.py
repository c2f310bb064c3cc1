"""LoRA on the layers that an exit keeps: trained by peft, merged into copies of the layers to draft with."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfdraft.errors import StudyError
from selfdraft.models.cache import KVCache, Step
from selfdraft.models.config import LlamaConfig
from selfdraft.models.linear import Linear
from selfdraft.models.llama import Block, fused, parted
from selfdraft.models.own_layers import OwnLayers

MATRICES = ("attention.qkv", "attention.o", "gate_up", "down")


class Added(nn.Module):
    """A peft layer where the block wants `add_to`; without what was added to it where `adapted` is False."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.adapted = layer, True

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if self.adapted else self.layer.get_submodule("base_layer")(x)

    def add_to(self, residual: Tensor, x: Tensor) -> Tensor:
        return residual + self(x)


class LoraLayers(nn.Module):
    """Layers in training, those of an exit 0 … exit layer: `x Wᵀ + 2 (x Aᵀ) Bᵀ` for every matrix, W frozen.

    (Hu et al. 2021.) alpha is twice the rank. B starts at zero, so that untrained the layers are the target's own.
    Fused matrices (q, k and v; gate and up) share one A.
    """

    def __init__(self, blocks: list[Block], rank: int, seed: int) -> None:
        """`blocks` are private copies; they are changed. `seed` decides the A matrices."""
        super().__init__()
        from peft import LoraConfig, inject_adapter_in_model

        self.cache_layers = len(blocks)
        for block in blocks:
            for name in MATRICES:
                parent, last = _parent(block, name)
                setattr(parent, last, _Frozen(getattr(parent, last)))
        layers = nn.ModuleList(blocks)
        settings = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=[name.split(".")[-1] for name in MATRICES])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            inject_adapter_in_model(settings, layers)
        self.blocks = layers
        for parameter in self.parameters():
            parameter.requires_grad_(False)
        for block in blocks:
            for name in MATRICES:
                parent, last = _parent(block, name)
                setattr(parent, last, Added(getattr(parent, last)))

    def named_tensors(self) -> dict[str, Tensor]:
        """The trained tensors by name, `lora.LAYER.MATRIX.A [rank, in]` and `….B [out, rank]`, unscaled."""
        named: dict[str, Tensor] = {}
        for layer, block in enumerate(self.blocks):
            for name in MATRICES:
                parent, last = _parent(block, name)
                adapted = getattr(parent, last).layer
                named[f"lora.{layer}.{name}.A"] = adapted.lora_A["default"].weight
                named[f"lora.{layer}.{name}.B"] = adapted.lora_B["default"].weight
        return named

    def matrices(self) -> Iterator[tuple[int, str, Tensor, Tensor | None]]:
        """Each layer's place, and of each of MATRICES the weight with what was trained merged in, and the bias."""
        for place, block in enumerate(self.blocks):
            for name in MATRICES:
                parent, last = _parent(block, name)
                adapted = getattr(parent, last).layer
                base, down, up = (adapted.base_layer, *(adapted.get_submodule(f"lora_{x}.default") for x in "AB"))
                weight = base.weight.float() + 2 * up.weight.float() @ down.weight.float()
                yield place, name, weight.to(base.weight.dtype), base.bias

    def merge_into(self, layers: Sequence[nn.Module]) -> None:
        """Put the merged weights over those of `layers`, which may be packed."""
        for place, name, weight, bias in self.matrices():
            matrix = layers[place].get_submodule(name)
            assert isinstance(matrix, Linear)
            matrix.take(weight, bias)

    @contextmanager
    def unadapted(self) -> Iterator[None]:
        """Within it the layers are as they were before any training."""
        added = [module for module in self.modules() if isinstance(module, Added)]
        for module in added:
            module.adapted = False
        try:
            yield
        finally:
            for module in added:
                module.adapted = True

    def forward(self, hidden: Tensor, step: Step, cache: KVCache | None = None) -> Tensor:
        """`[batch, tokens, hidden] -> the same`."""
        for place, block in enumerate(self.blocks):
            hidden = block(hidden, step, cache, place)
        return hidden


def merged(config: LlamaConfig, layers: list[Block], tensors: dict[str, Tensor]) -> OwnLayers:
    """Copies of the target's `layers` with the trained tensors merged in: no slower than the layers themselves.

    Raises KeyError if a tensor is missing, StudyError for a wrong shape.
    """
    return OwnLayers([Block(config, dict(_merged(block, layer, tensors))) for layer, block in enumerate(layers)])


def _merged(block: Block, layer: int, tensors: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    yield from block.named_tensors().items()
    own = block.named_tensors()
    for matrix, (names, sizes) in parts_of(block.config).items():
        base = fused(own, *names)
        assert base.weight is not None
        down, up = tensors[f"lora.{layer}.{matrix}.A"], tensors[f"lora.{layer}.{matrix}.B"]
        if (up.shape[0], down.shape[1]) != tuple(base.weight.shape) or up.shape[1] != down.shape[0]:
            raise StudyError(
                f"tensors lora.{layer}.{matrix}.A {tuple(down.shape)} and B {tuple(up.shape)} "
                f"do not fit the matrix {tuple(base.weight.shape)}"
            )
        weight = base.weight.float() + 2 * up.float() @ down.float()
        yield from parted(Linear(weight.to(base.weight.dtype), None), names, sizes).items()


def parts_of(config: LlamaConfig) -> dict[str, tuple[tuple[str, ...], tuple[int, ...]]]:
    """Of each of MATRICES, transformers' names of what is fused in it, and their rows."""
    c = config
    q, kv, inner = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim, c.intermediate_size
    return {
        "attention.qkv": (("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), (q, kv, kv)),
        "attention.o": (("self_attn.o_proj",), (c.hidden_size,)),
        "gate_up": (("mlp.gate_proj", "mlp.up_proj"), (inner, inner)),
        "down": (("mlp.down_proj",), (c.hidden_size,)),
    }


def _parent(block: nn.Module, name: str) -> tuple[nn.Module, str]:
    above, _, last = name.rpartition(".")
    return (block.get_submodule(above) if above else block), last


class _Frozen(nn.Linear):
    """A layer of the kind that peft knows, computing in x's dtype; the weight is shared, not copied."""

    def __init__(self, linear: Linear) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=linear.bias is not None, device="meta")
        assert linear.weight is not None
        self.weight, self.bias = linear.weight, linear.bias  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, self.weight.to(x.dtype), bias)
