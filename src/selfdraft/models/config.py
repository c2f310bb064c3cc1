"""The shape of a Llama-family model, read from the config.json that transformers writes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfdraft.errors import StudyError
from selfdraft.files import read_json

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")


@dataclass(frozen=True)
class LlamaConfig:
    """Sizes and switches of one model. `rope` keeps the scaling fields by their usual names."""

    model_type: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    norm_eps: float
    max_positions: int
    rope: dict[str, Any]
    tied: bool
    qk_norm: bool

    @classmethod
    def read(cls, folder: str | Path) -> "LlamaConfig":
        """Read `folder/config.json`. Raises StudyError for a family or feature that is not supported."""
        path = Path(folder) / "config.json"
        return cls.from_dict(read_json(path), str(path))

    @classmethod
    def from_dict(cls, raw: dict[str, Any], where: str = "config.json") -> "LlamaConfig":
        """Build from the fields of a transformers config (4.x or 5.x spelling of the rope settings)."""
        if not isinstance(raw, dict):
            raise StudyError(f"{where}: found a {type(raw).__name__}, a JSON object is right")
        family = raw.get("model_type")
        if family not in FAMILIES:
            raise StudyError(f"{where}: model_type: {family!r} is not supported; one of {', '.join(FAMILIES)} is")
        if raw.get("hidden_act", "silu") != "silu":
            raise StudyError(f"{where}: hidden_act: {raw['hidden_act']!r} is not supported; silu is")
        missing = [
            key
            for key in (
                "vocab_size",
                "hidden_size",
                "intermediate_size",
                "num_hidden_layers",
                "num_attention_heads",
            )
            if key not in raw
        ]
        if missing:
            raise StudyError(f"{where}: {missing[0]}: missing")
        heads = raw["num_attention_heads"]
        rope = dict(raw.get("rope_parameters") or raw.get("rope_scaling") or {})
        rope.setdefault("rope_theta", raw.get("rope_theta", 10000.0))
        rope["rope_type"] = rope.get("rope_type", rope.pop("type", "default"))
        if rope["rope_type"] not in ("default", "llama3", "linear"):
            raise StudyError(
                f"{where}: rope_type: {rope['rope_type']!r} is not supported; default, linear or llama3 is"
            )
        needed = {"llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")}
        for key in needed.get(rope["rope_type"], ("factor",) if rope["rope_type"] == "linear" else ()):
            if key not in rope:
                raise StudyError(f"{where}: rope {rope['rope_type']}: {key}: missing")
        if rope.get("partial_rotary_factor", 1.0) != 1.0:
            raise StudyError(f"{where}: partial_rotary_factor: only 1.0 is supported")
        positions = raw.get("max_position_embeddings", 2048)
        window = raw.get("sliding_window") if raw.get("use_sliding_window", family == "mistral") else None
        return cls(
            model_type=family,
            vocab_size=raw["vocab_size"],
            hidden_size=raw["hidden_size"],
            intermediate_size=raw["intermediate_size"],
            n_layers=raw["num_hidden_layers"],
            n_heads=heads,
            n_kv_heads=raw.get("num_key_value_heads") or heads,
            head_dim=raw.get("head_dim") or raw["hidden_size"] // heads,
            norm_eps=raw.get("rms_norm_eps", 1e-6),
            # Full attention equals sliding-window attention while the window is not full.
            max_positions=min(positions, window) if window else positions,
            rope=rope,
            tied=bool(raw.get("tie_word_embeddings", False)),
            qk_norm=family == "qwen3",
        )
