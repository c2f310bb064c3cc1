"""A tiny random Llama in memory, for tests of the loop: fast, and far from uniform."""

import torch

from selfdraft.models.config import LlamaConfig
from selfdraft.models.exit import Exit, untrained_exit
from selfdraft.models.llama import Llama
from selfdraft.sequences import Sequences
from selfdraft.training.capture import passes


def tiny_llama(vocab: int = 61, layers: int = 4, seed: int = 0, scale: float = 0.35, positions: int = 256) -> Llama:
    """Float32, hidden 32, 4 heads over 2 KV heads; `scale` sets how peaked its predictions are."""
    config = LlamaConfig.from_dict(
        {
            "model_type": "llama",
            "vocab_size": vocab,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": layers,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": positions,
            "tie_word_embeddings": False,
        }
    )
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * scale

    tensors = {
        "model.embed_tokens.weight": normal(vocab, 32) / scale,
        "model.norm.weight": torch.ones(32) + normal(32),
        "lm_head.weight": normal(vocab, 32),
    }
    shapes = {
        "self_attn.q_proj": (32, 32),
        "self_attn.k_proj": (16, 32),
        "self_attn.v_proj": (16, 32),
        "self_attn.o_proj": (32, 32),
        "mlp.gate_proj": (64, 32),
        "mlp.up_proj": (64, 32),
        "mlp.down_proj": (32, 64),
    }
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        tensors |= {f"{prefix}{name}.weight": normal(*shape) for name, shape in shapes.items()}
        tensors[prefix + "input_layernorm.weight"] = torch.ones(32) + normal(32)
        tensors[prefix + "post_attention_layernorm.weight"] = torch.ones(32) + normal(32)
    return Llama(config, tensors).eval()


def perturbed_exit(target: Llama, layer: int, capacity: str, amount: float = 0.1) -> Exit:
    """A private copy of an untrained exit, moved a little: some of its drafts are accepted, some are not."""
    draft = untrained_exit(target, layer, capacity, torch.float32)
    generator = torch.Generator().manual_seed(11)
    for parameter in draft.parameters():
        parameter.data += amount * torch.randn(parameter.shape, generator=generator)
    return draft


def hidden_states(target: Llama, sequences: Sequences, depths: list[int]) -> dict[int, torch.Tensor]:
    """The states at each of `depths` in memory, `[tokens, hidden]` each."""
    kept = {depth: torch.empty((len(sequences.tokens), target.config.hidden_size)) for depth in depths}
    for begin, end, states in passes(target, sequences, depths):
        for depth, state in states.items():
            kept[depth][begin:end] = state
    return kept
