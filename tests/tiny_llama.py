"""A tiny random Llama in memory, for tests of the loop: fast, and far from uniform."""

import torch

from selfdraft.models.config import LlamaConfig
from selfdraft.models.eagle3 import Eagle3, untrained_eagle3
from selfdraft.models.exit import Exit, untrained_exit
from selfdraft.models.llama import Llama
from selfdraft.sequences import Sequences
from selfdraft.training.capture import passes


def tiny_llama(
    vocab: int = 61, layers: int = 4, seed: int = 0, scale: float = 0.35, positions: int = 256, kv_heads: int = 2
) -> Llama:
    """Float32, two heads of 8 a KV head; `scale` sets how peaked its predictions are."""
    hidden, kv = 16 * kv_heads, 8 * kv_heads
    config = LlamaConfig.from_dict(
        {
            "model_type": "llama",
            "vocab_size": vocab,
            "hidden_size": hidden,
            "intermediate_size": 2 * hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": 2 * kv_heads,
            "num_key_value_heads": kv_heads,
            "max_position_embeddings": positions,
            "tie_word_embeddings": False,
        }
    )
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * scale

    tensors = {
        "model.embed_tokens.weight": normal(vocab, hidden) / scale,
        "model.norm.weight": torch.ones(hidden) + normal(hidden),
        "lm_head.weight": normal(vocab, hidden),
    }
    shapes = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (kv, hidden),
        "self_attn.v_proj": (kv, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (2 * hidden, hidden),
        "mlp.up_proj": (2 * hidden, hidden),
        "mlp.down_proj": (hidden, 2 * hidden),
    }
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        tensors |= {f"{prefix}{name}.weight": normal(*shape) for name, shape in shapes.items()}
        tensors[prefix + "input_layernorm.weight"] = torch.ones(hidden) + normal(hidden)
        tensors[prefix + "post_attention_layernorm.weight"] = torch.ones(hidden) + normal(hidden)
    return Llama(config, tensors).eval()


def perturbed_exit(target: Llama, layer: int, capacity: str, amount: float = 0.1) -> Exit:
    """A private copy of an untrained exit, moved a little: some of its drafts are accepted, some are not."""
    draft = untrained_exit(target, layer, capacity, torch.float32, {"low_rank_head": 8, "lora": 4})
    generator = torch.Generator().manual_seed(11)
    for parameter in draft.trained():
        parameter.data += amount * torch.randn(parameter.shape, generator=generator)
    return draft


def hidden_states(target: Llama, sequences: Sequences, depths: list[int]) -> dict[int, torch.Tensor]:
    """The states at each of `depths` in memory, `[tokens, hidden]` each."""
    kept = {depth: torch.empty((len(sequences.tokens), target.config.hidden_size)) for depth in depths}
    for begin, end, states in passes(target, sequences, depths):
        for depth, state in states.items():
            kept[depth][begin:end] = state
    return kept


def moved_eagle3(
    target: Llama,
    features: tuple[int, ...],
    kept_ids: torch.Tensor,
    fc_norm: bool = False,
    norm_output: bool = False,
    amount: float = 0.1,
    bias_rank: int = 0,
    confidence: bool = False,
) -> Eagle3:
    """An untrained EAGLE-3 drafter, every tensor of which is moved: none of it is zero or one."""
    draft = untrained_eagle3(target, features, kept_ids, torch.float32, fc_norm, norm_output, bias_rank, confidence)
    generator = torch.Generator().manual_seed(12)
    for parameter in draft.parameters():
        parameter.data += amount * torch.randn(parameter.shape, generator=generator)
    return draft
