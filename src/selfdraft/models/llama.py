"""The target: the Llama family in one file, any range of layers on hidden states, with a KV cache.

Covers Llama 2/3.x, SmolLM2, Mistral, Qwen2/2.5 (attention bias) and Qwen3 (q/k norm). "Depth d" is
the hidden state after d layers: depth 0 is the embedding, depth l + 1 the output of layer l.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfdraft.errors import StudyError
from selfdraft.models.attention import attend
from selfdraft.models.cache import KVCache, Step
from selfdraft.models.config import LlamaConfig
from selfdraft.models.graphs import Replays
from selfdraft.models.linear import Linear, RMSNorm
from selfdraft.models.rope import rotate, rotation_table
from selfdraft.models.weights import read_tensors


class Attention(nn.Module):
    """Grouped-query self-attention with rotary positions: the matrices, and what is done between them."""

    def __init__(self, config: LlamaConfig, tensors: dict[str, Tensor]) -> None:
        """Take the tensors `self_attn.…` of one layer. Raises KeyError if one is missing."""
        super().__init__()
        self.config = config
        self.group = config.n_heads // config.n_kv_heads
        self.qkv = fused(tensors, "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
        self.o = fused(tensors, "self_attn.o_proj")
        if config.qk_norm:
            self.q_norm = RMSNorm(tensors["self_attn.q_norm.weight"], config.norm_eps)
            self.k_norm = RMSNorm(tensors["self_attn.k_norm.weight"], config.norm_eps)

    def named_tensors(self) -> dict[str, Tensor]:
        """The tensors by transformers' names (the inverse of the constructor)."""
        c = self.config
        q, kv = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
        named = parted(self.qkv, ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), (q, kv, kv))
        named |= parted(self.o, ("self_attn.o_proj",), (c.hidden_size,))
        if c.qk_norm:
            named |= {
                "self_attn.q_norm.weight": self.q_norm.weight,
                "self_attn.k_norm.weight": self.k_norm.weight,
            }
        return named

    def mix(self, x: Tensor, step: Step, cache: KVCache | None, layer: int) -> Tensor:
        """`[batch, tokens, hidden]` -> what the heads gathered, `[batch, tokens, heads * head_dim]`, before `o`."""
        c = self.config
        batch, tokens, _ = x.shape
        qkv = self.qkv(x).view(batch, tokens, c.n_heads + 2 * c.n_kv_heads, c.head_dim)
        if c.qk_norm:
            q, k, v = qkv.split((c.n_heads, c.n_kv_heads, c.n_kv_heads), dim=2)
            qkv = torch.cat((self.q_norm(q), self.k_norm(k), v), dim=2)
        qkv = rotate(qkv, step.cos, step.sin)
        q, kv = qkv[:, :, : c.n_heads], qkv[:, :, c.n_heads :]
        if cache is not None:
            keys, values = cache.write(layer, kv, step)
        else:
            keys, values = kv.transpose(1, 2).chunk(2, dim=1)
        if step.causal_from_empty:
            out = F.scaled_dot_product_attention(
                q.transpose(1, 2), keys, values, is_causal=True, enable_gqa=self.group > 1
            )
            return out.transpose(1, 2).reshape(batch, tokens, -1)
        # Queries that share a KV head stand as more tokens of it: no KV is repeated (see docs/benchmarks.md).
        if tokens == 1:
            folded = q.reshape(batch, c.n_kv_heads, self.group, c.head_dim)
            out = attend(folded, keys, values, step.mask)
            return out.reshape(batch, 1, -1)
        folded = q.view(batch, tokens, c.n_kv_heads, self.group, c.head_dim).permute(0, 2, 3, 1, 4)
        folded = folded.reshape(batch, c.n_kv_heads, self.group * tokens, c.head_dim)
        out = attend(folded, keys, values, step.mask)
        out = out.view(batch, c.n_kv_heads, self.group, tokens, c.head_dim).permute(0, 3, 1, 2, 4)
        return out.reshape(batch, tokens, -1)


class Block(nn.Module):
    """One decoder layer: attention and gated MLP, each behind a norm, added to the residual."""

    def __init__(self, config: LlamaConfig, tensors: dict[str, Tensor]) -> None:
        """Take one layer's tensors by transformers' names, the layer's prefix removed.

        Raises StudyError if a tensor's shape is not the config's, KeyError if one is missing.
        """
        super().__init__()
        check_shapes(config, tensors)
        self.config = config
        self.input_norm = RMSNorm(tensors["input_layernorm.weight"], config.norm_eps)
        self.attention = Attention(config, tensors)
        self.post_norm = RMSNorm(tensors["post_attention_layernorm.weight"], config.norm_eps)
        self.gate_up = fused(tensors, "mlp.gate_proj", "mlp.up_proj")
        self.down = fused(tensors, "mlp.down_proj")

    def named_tensors(self) -> dict[str, Tensor]:
        """The layer's tensors by transformers' names (the inverse of the constructor)."""
        inner = self.config.intermediate_size
        return {
            "input_layernorm.weight": self.input_norm.weight,
            "post_attention_layernorm.weight": self.post_norm.weight,
            **self.attention.named_tensors(),
            **parted(self.gate_up, ("mlp.gate_proj", "mlp.up_proj"), (inner, inner)),
            **parted(self.down, ("mlp.down_proj",), (self.config.hidden_size,)),
        }

    def forward(self, hidden: Tensor, step: Step, cache: KVCache | None = None, layer: int = 0) -> Tensor:
        """`hidden [batch, tokens, hidden] -> the same`. `layer` is the slot in `cache`."""
        hidden = self.attention.o.add_to(hidden, self.attention.mix(self.input_norm(hidden), step, cache, layer))
        gate, up = self.gate_up(self.post_norm(hidden)).chunk(2, dim=-1)
        return self.down.add_to(hidden, F.silu(gate) * up)


def fused(tensors: dict[str, Tensor], *names: str) -> Linear:
    """One linear layer of several that read the same input, stacked in the order of their names."""
    biases = [tensors[f"{name}.bias"] for name in names if f"{name}.bias" in tensors]
    weight = torch.cat([tensors[f"{name}.weight"] for name in names])
    return Linear(weight, torch.cat(biases) if biases else None)


def parted(linear: Linear, names: tuple[str, ...], sizes: tuple[int, ...]) -> dict[str, Tensor]:
    """The tensors of a fused layer by name again, `sizes` rows each."""
    named: dict[str, Tensor] = {}
    for kind, tensor in (("weight", linear.weight), ("bias", linear.bias)):
        if tensor is not None:
            named |= {f"{n}.{kind}": t for n, t in zip(names, tensor.split(sizes), strict=True)}
    return named


class Llama(nn.Module):
    """Embedding, layers, final norm and LM head, each usable alone."""

    def __init__(self, config: LlamaConfig, tensors: dict[str, Tensor]) -> None:
        """Take a whole model's tensors by transformers' names; missing ones raise StudyError."""
        super().__init__()
        self.config = config
        try:
            self.embedding = nn.Parameter(tensors["model.embed_tokens.weight"], requires_grad=False)
            prefix = "model.layers.{}."
            self.layers = nn.ModuleList(
                Block(config, _without_prefix(tensors, prefix.format(layer))) for layer in range(config.n_layers)
            )
            self.norm = RMSNorm(tensors["model.norm.weight"], config.norm_eps)
            head = self.embedding.data if config.tied else tensors["lm_head.weight"]
        except KeyError as error:
            raise StudyError(f"model.safetensors: tensor …{error.args[0]} is missing") from None
        if self.embedding.shape != (config.vocab_size, config.hidden_size) or head.shape != self.embedding.shape:
            raise StudyError(
                f"model.safetensors: embedding {tuple(self.embedding.shape)} and LM head {tuple(head.shape)}, "
                f"config.json says {(config.vocab_size, config.hidden_size)}"
            )
        self.head = Linear(head)
        self.fingerprint = _fingerprint(config, tensors)
        self.cos: Tensor
        self.sin: Tensor
        self._add_tables(head)
        self.folder: Path | None = None  # where it was loaded from
        self.replays: Replays | None = None  # set where steps are replayed from CUDA graphs

    def _add_tables(self, like: Tensor) -> None:
        """The rotation tables; LongRoPE has others for texts longer than the original context."""
        c = self.config
        longest = c.rope["original_max_position_embeddings"] if c.rope["rope_type"] == "longrope" else c.max_positions
        self._short_up_to = longest if longest < c.max_positions else None
        for prefix, long in (("", False), ("short_", False), ("long_", True)):
            if prefix and self._short_up_to is None:
                return
            for name, table in zip(
                ("cos", "sin"), rotation_table(c.head_dim, c.rope, c.max_positions, long), strict=True
            ):
                self.register_buffer(prefix + name, table.to(like.device, like.dtype), persistent=False)

    @property
    def one_range(self) -> int:
        """The longest text whose angles are those of all its beginnings; with LongRoPE shorter than the context."""
        return self._short_up_to or self.config.max_positions

    def reach(self, longest: int) -> None:
        """Say how long the texts of the steps to come will be at the end: with LongRoPE the angles depend on it.

        In place: captured graphs read the same memory. A text that grows beyond the original context has the
        long angles from its first token on, as if it were read at once.
        """
        if self._short_up_to is not None:
            prefix = "long_" if longest > self._short_up_to else "short_"
            self.cos.copy_(getattr(self, prefix + "cos"))
            self.sin.copy_(getattr(self, prefix + "sin"))

    @property
    def dtype(self) -> torch.dtype:
        return self.embedding.dtype

    @property
    def device(self) -> torch.device:
        return self.embedding.device

    def pack(self) -> "Llama":
        """Pack all linear weights for inference on the CPU (see Linear.pack); returns self."""
        for module in self.modules():
            if isinstance(module, Linear | RMSNorm):
                module.pack()
        return self

    def new_cache(self, batch: int, capacity: int, layers: int | None = None) -> KVCache:
        """A cache for `layers` layers (all by default), at most `max_positions` tokens a row."""
        c = self.config
        if capacity > c.max_positions:
            raise StudyError(f"context: {capacity} tokens needed, the model has room for {c.max_positions}")
        n_layers = c.n_layers if layers is None else layers
        return KVCache(n_layers, c.n_kv_heads, c.head_dim, batch, capacity, self.dtype, self.device)

    def step(
        self,
        starts: list[int],
        tokens: int,
        capacity: int | None = None,
        tree: Tensor | None = None,
        depths: Tensor | None = None,
    ) -> Step:
        """Positions and mask for `tokens` new tokens at `starts[row]`."""
        c = self.config
        room = c.max_positions if capacity is None else capacity
        if capacity is None:  # no cache: these tokens are all there will be
            self.reach(max(starts) + tokens)
        return Step(self.cos, self.sin, starts, tokens, (c.n_heads, c.n_kv_heads), room, tree, depths)

    def embed(self, tokens: Tensor) -> Tensor:
        """`[batch, tokens] -> [batch, tokens, hidden]`, depth 0."""
        return F.embedding(tokens, self.embedding)

    def run(self, hidden: Tensor, first: int, last: int, step: Step, cache: KVCache | None = None) -> Tensor:
        """Layers `first … last - 1` on hidden states at depth `first`; returns depth `last`."""
        for layer in range(first, last):
            hidden = self.layers[layer](hidden, step, cache, layer)
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """Final norm and LM head: `[…, hidden] -> […, vocab]`."""
        return self.head(self.norm(hidden))

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits `[batch, tokens, vocab]` of whole sequences, without a cache."""
        step = self.step([0], tokens.shape[1])
        return self.logits(self.run(self.embed(tokens), 0, self.config.n_layers, step))

    def layer_bytes(self) -> int:
        """Bytes of one layer's matrices (all layers are alike)."""
        first = self.layers[0]
        return sum(module.bytes for module in first.modules() if isinstance(module, Linear))

    def step_bytes(self) -> int:
        """Bytes of matrices that one vanilla step reads: all layers and the LM head."""
        return self.config.n_layers * self.layer_bytes() + self.head.bytes


def check_shapes(config: LlamaConfig, tensors: dict[str, Tensor], mlp: bool = True) -> None:
    """Raise StudyError for the first matrix of a layer, or of its attention, whose shape is not the config's."""
    c = config
    q, kv, inner = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim, c.intermediate_size
    shapes = {
        "self_attn.q_proj": (q, c.hidden_size),
        "self_attn.k_proj": (kv, c.hidden_size),
        "self_attn.v_proj": (kv, c.hidden_size),
        "self_attn.o_proj": (c.hidden_size, q),
        "mlp.gate_proj": (inner, c.hidden_size),
        "mlp.up_proj": (inner, c.hidden_size),
        "mlp.down_proj": (c.hidden_size, inner),
    }
    for name, shape in shapes.items():
        if name.startswith("mlp.") and not mlp:
            continue
        found = tuple(tensors[f"{name}.weight"].shape)
        if found != shape:
            raise StudyError(f"tensor {name}.weight is {found}, config.json says {shape}")


def _fingerprint(config: LlamaConfig, tensors: dict[str, Tensor]) -> str:
    """16 hex digits that differ for any other weights or rope: the norms, and some rows of every matrix."""
    digest = hashlib.sha256(json.dumps([config.rope, config.head_dim, config.norm_eps], sort_keys=True).encode())
    for name in sorted(tensors):
        rows = tensors[name].detach()[:2].to("cpu", torch.bfloat16).contiguous()
        digest.update(name.encode() + rows.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _without_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    found = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    if not found:
        raise KeyError(prefix + "*")
    return found


def load_target(
    folder: str | Path, dtype: torch.dtype, device: str | torch.device = "cpu", layers: int | None = None
) -> Llama:
    """Load `folder/config.json` and `folder/model.safetensors`; weights cast to `dtype`. `layers`: the first ones only.

    Raises StudyError for a missing, truncated or mismatched file.
    """
    config = LlamaConfig.read(folder)
    path = Path(folder) / "model.safetensors"
    read = read_tensors(path)
    if layers is not None and layers < config.n_layers:
        gone = tuple(f"model.layers.{layer}." for layer in range(layers, config.n_layers))
        config, read = replace(config, n_layers=layers), {n: t for n, t in read.items() if not n.startswith(gone)}
    tensors = {name: tensor.to(device, dtype) for name, tensor in read.items()}
    try:
        model = Llama(config, tensors).eval()
    except StudyError as error:
        raise StudyError(f"{folder}: {error}") from None
    model.folder = Path(folder)
    return model
