"""The shape of a Llama-family model, read from the config.json that transformers writes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfdraft.errors import StudyError
from selfdraft.files import read_json

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")


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
        if raw.get("hidden_act", "silu") not in ("silu", "swish"):  # two names of one function
            raise StudyError(f"{where}: hidden_act: {raw['hidden_act']!r} is not supported; silu is")
        if missing := [key for key in SIZES if key not in raw]:
            raise StudyError(f"{where}: {missing[0]}: missing")
        for key in (*SIZES, "max_position_embeddings"):
            if key in raw and (type(raw[key]) is not int or raw[key] < 1):
                raise StudyError(f"{where}: {key}: found {raw[key]!r:.60}, a whole number above 0 is right")
        heads = raw["num_attention_heads"]
        head_dim = raw.get("head_dim") or raw["hidden_size"] // heads
        positions = raw.get("max_position_embeddings", 2048)
        windows = [window for window in sliding_windows(raw, family, where) if window is not None]
        return cls(
            model_type=family,
            vocab_size=raw["vocab_size"],
            hidden_size=raw["hidden_size"],
            intermediate_size=raw["intermediate_size"],
            n_layers=raw["num_hidden_layers"],
            n_heads=heads,
            n_kv_heads=raw.get("num_key_value_heads") or heads,
            head_dim=head_dim,
            norm_eps=raw.get("rms_norm_eps", 1e-6),
            # Full attention equals sliding-window attention while the window is not full.
            max_positions=min(positions, *windows) if windows else positions,
            rope=checked_rope(rope_settings(raw, family, positions), head_dim, where),
            tied=bool(raw.get("tie_word_embeddings", False)),
            qk_norm=family == "qwen3",
        )


# The settings that each kind of rope needs, beside rope_theta.
ROPE_TYPES: dict[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "dynamic": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "yarn": ("factor", "original_max_position_embeddings"),
    "longrope": ("short_factor", "long_factor", "original_max_position_embeddings"),
}


def rope_settings(raw: dict[str, Any], family: str, positions: int) -> dict[str, Any]:
    """The rope settings of a config, old spelling or new, with the names and defaults of transformers 5.

    `max_position_embeddings` is kept beside them: `longrope` and `yarn` may scale by it.
    """
    given = raw.get("rope_scaling") or raw.get("rope_parameters") or {}
    rope = dict(given) if isinstance(given, dict) else {"rope_type": str(given)}
    rope.setdefault("rope_theta", raw.get("rope_theta", 10000.0))
    rope["rope_type"] = rope.get("rope_type", rope.pop("type", "default"))
    if rope["rope_type"] in ("llama3", "yarn", "longrope"):
        outer = raw.get("original_max_position_embeddings")
        rope["original_max_position_embeddings"] = outer or rope.get("original_max_position_embeddings", positions)
    if "partial_rotary_factor" in raw:
        rope.setdefault("partial_rotary_factor", raw["partial_rotary_factor"])
    return rope | {"max_position_embeddings": positions}


def checked_rope(rope: dict[str, Any], head_dim: int, where: str) -> dict[str, Any]:
    """`rope`, if it is of a kind that is supported. Raises StudyError naming the setting that is not."""
    kind = rope["rope_type"]
    if not isinstance(kind, str) or kind not in ROPE_TYPES:
        raise StudyError(f"{where}: rope_type: {kind!r} is not supported; one of {', '.join(ROPE_TYPES)} is")
    for key in ROPE_TYPES[kind]:
        if key not in rope:
            raise StudyError(f"{where}: rope {kind}: {key}: missing")
    for key in ("rope_theta", *ROPE_TYPES[kind]):
        value = rope[key]
        if key in ("short_factor", "long_factor"):
            if not isinstance(value, list) or len(value) != head_dim // 2 or not all(map(is_positive, value)):
                right = f"a list of {head_dim // 2} numbers above 0"
                raise StudyError(f"{where}: rope {kind}: {key}: found {value!r:.60}, {right} is right")
        elif not is_positive(value) and not (kind == "yarn" and value is None):
            raise StudyError(f"{where}: rope {kind}: {key}: found {value!r:.60}, a number above 0 is right")
    if rope.get("partial_rotary_factor") not in (None, 1, 1.0):
        raise StudyError(f"{where}: partial_rotary_factor: {rope['partial_rotary_factor']} is not supported; 1.0 is")
    return rope


def is_positive(value: Any) -> bool:
    """Whether a value out of JSON is a number above 0."""
    return type(value) in (int, float) and 0 < value < float("inf")


def sliding_windows(raw: dict[str, Any], family: str, where: str) -> list[int | None]:
    """Each layer's window, None where a layer sees everything: by transformers' rules of the family.

    Mistral: the window alone decides, for all layers. Qwen: a window only with `use_sliding_window`, for the
    layers that `layer_types` names, else those from `max_window_layers` on. Llama has none.
    """
    layers = raw["num_hidden_layers"]
    if family == "llama":
        return [None] * layers
    window = raw.get("sliding_window", 4096)
    if window is not None and (type(window) is not int or window < 1):
        raise StudyError(f"{where}: sliding_window: found {window!r}, a number of tokens or null is right")
    if family == "mistral":
        return [window] * layers
    if not raw.get("use_sliding_window", False):
        window = None
    types = raw.get("layer_types")
    if types is None:
        slides = [layer >= raw.get("max_window_layers", 28) for layer in range(layers)]
        return [window if slide else None for slide in slides]
    if not isinstance(types, list) or len(types) != layers:
        raise StudyError(f"{where}: layer_types: found {types!r:.80}, a list of {layers} kinds is right")
    for kind in types:
        if kind not in ("full_attention", "sliding_attention"):
            raise StudyError(f"{where}: layer_types: {kind!r} is not supported; full_attention, sliding_attention are")
    if window is None and "sliding_attention" in types:
        raise StudyError(f"{where}: layer_types: a layer slides, but use_sliding_window gives it no window")
    return [window if kind == "sliding_attention" else None for kind in types]
