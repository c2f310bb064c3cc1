"""What a model folder or GGUF file is taken for: read like a target, but nothing is written."""

from pathlib import Path

from selfdraft.models.config import LlamaConfig
from selfdraft.sources.target import read_model


def survey_model(path: Path) -> list[str]:
    """Lines for people: family, sizes, head, rope. Raises StudyError for a model that `target` would refuse."""
    model = read_model(path, None)
    config = LlamaConfig.from_dict(model.config, f"{path}/config.json")
    weights = sum(tensor.numel() for tensor in model.state.values())
    return [
        f"{path}: a model",
        f"  family: {config.model_type}, {config.n_layers} layers, hidden {config.hidden_size}, {weights:,} weights",
        f"  head: {'the embedding itself (tied)' if config.tied else 'of its own'}, {config.vocab_size:,} rows",
        f"  rope: {config.rope['rope_type']}; context {config.max_positions:,} tokens",
    ]
