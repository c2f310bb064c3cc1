"""Rotary position embedding (Su et al. 2021) and its ways to longer texts: linear, dynamic, Llama 3, YaRN, LongRoPE."""

import math
from typing import Any

import torch
from torch import Tensor


def inverse_frequencies(head_dim: int, rope: dict[str, Any], long: bool = False) -> Tensor:
    """The angle per position of each rotated pair, float32 `[head_dim / 2]`; by `rope_type`:

    - linear: all stretched by `factor`.
    - dynamic: as `default`: it stretches only beyond `max_position_embeddings`, where no context goes here.
    - llama3 (model card of Llama 3.1): wavelengths above `original_max_position_embeddings / low_freq_factor` are
      stretched by `factor`, those below `… / high_freq_factor` are kept, those between are interpolated.
    - yarn (Peng et al. 2023): the same between pairs that turn `beta_slow` and `beta_fast` times in that context.
    - longrope (Ding et al. 2024): each pair by its own factor, of `long_factor` in texts that are `long`.
    """
    exponents = torch.arange(0, head_dim, 2, dtype=torch.int64).float() / head_dim
    frequencies = 1.0 / (float(rope["rope_theta"]) ** exponents)
    kind = rope["rope_type"]
    if kind == "linear":
        return frequencies / rope["factor"]
    if kind == "llama3":
        context = rope["original_max_position_embeddings"]
        low, high, factor = rope["low_freq_factor"], rope["high_freq_factor"], rope["factor"]
        wavelengths = 2 * math.pi / frequencies
        blend = ((context / wavelengths - low) / (high - low)).clamp(0.0, 1.0)
        return (1 - blend) * frequencies / factor + blend * frequencies
    if kind == "yarn":
        kept = _kept_by_yarn(head_dim, rope)
        return frequencies / yarn_factor(rope) * (1 - kept) + frequencies * kept
    if kind == "longrope":
        factors = torch.tensor(rope["long_factor" if long else "short_factor"], dtype=torch.float32)
        return 1.0 / (factors * float(rope["rope_theta"]) ** exponents)
    return frequencies


def yarn_factor(rope: dict[str, Any]) -> float:
    """How much longer the context is made; by its sizes where `factor` is null."""
    given = rope.get("factor")
    return float(given or rope["max_position_embeddings"] / rope["original_max_position_embeddings"])


def _kept_by_yarn(head_dim: int, rope: dict[str, Any]) -> Tensor:
    """Share of each pair's frequency that is kept, 1 for the fast ones, `[head_dim / 2]`."""
    context, base = rope["original_max_position_embeddings"], float(rope["rope_theta"])

    def pair(turns: float) -> float:
        """The dimension that turns so often in the original context."""
        return head_dim * math.log(context / (turns * 2 * math.pi)) / (2 * math.log(base))

    low, high = pair(rope.get("beta_fast") or 32), pair(rope.get("beta_slow") or 1)
    if rope.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    ramp = (torch.arange(head_dim // 2).float() - low) / (high - low if high != low else 0.001)
    return 1 - ramp.clamp(0, 1)


def attention_scale(rope: dict[str, Any]) -> float:
    """What YaRN and LongRoPE multiply cosines and sines by; 1 for the others."""
    kind = rope["rope_type"]
    if kind not in ("yarn", "longrope"):
        return 1.0
    if rope.get("attention_factor") is not None:
        return float(rope["attention_factor"])
    if kind == "longrope":
        context = rope["original_max_position_embeddings"]
        factor = rope.get("factor") or rope["max_position_embeddings"] / context
        return math.sqrt(1 + math.log(factor) / math.log(context)) if factor > 1 else 1.0

    def scale(weight: float) -> float:
        factor = yarn_factor(rope)
        return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

    if rope.get("mscale") and rope.get("mscale_all_dim"):
        return scale(rope["mscale"]) / scale(rope["mscale_all_dim"])
    return scale(1.0)


def rotation_table(head_dim: int, rope: dict[str, Any], positions: int, long: bool = False) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines, float32 `[positions, head_dim]` each.

    The sine's first half carries the minus sign of the rotation, so that
    `rotate(x) = x * cos + roll(x, head_dim / 2) * sin`.
    """
    angles = torch.outer(torch.arange(positions).float(), inverse_frequencies(head_dim, rope, long))
    scale = attention_scale(rope)
    cos, sin = angles.cos() * scale, angles.sin() * scale
    return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate `x [..., head_dim]` by the angles of `cos`, `sin` (broadcast over heads)."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)
