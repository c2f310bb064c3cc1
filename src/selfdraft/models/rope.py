"""Rotary position embedding (Su et al. 2021), with linear and Llama-3 frequency scaling."""

import math
from typing import Any

import torch
from torch import Tensor


def inverse_frequencies(head_dim: int, rope: dict[str, Any]) -> Tensor:
    """The angle per position of each rotated pair, float32 `[head_dim / 2]`.

    `rope_type: llama3` follows the model card of Llama 3.1: wavelengths above
    `original_max_position_embeddings / low_freq_factor` are stretched by `factor`, those below
    `… / high_freq_factor` are kept, those between are interpolated.
    """
    exponents = torch.arange(0, head_dim, 2, dtype=torch.int64).float() / head_dim
    frequencies = 1.0 / (float(rope["rope_theta"]) ** exponents)
    if rope["rope_type"] == "linear":
        return frequencies / rope["factor"]
    if rope["rope_type"] == "llama3":
        context = rope["original_max_position_embeddings"]
        low, high, factor = rope["low_freq_factor"], rope["high_freq_factor"], rope["factor"]
        wavelengths = 2 * math.pi / frequencies
        blend = ((context / wavelengths - low) / (high - low)).clamp(0.0, 1.0)
        return (1 - blend) * frequencies / factor + blend * frequencies
    return frequencies


def rotation_table(head_dim: int, rope: dict[str, Any], positions: int) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines, float32 `[positions, head_dim]` each.

    The sine's first half carries the minus sign of the rotation, so that
    `rotate(x) = x * cos + roll(x, head_dim / 2) * sin`.
    """
    angles = torch.outer(torch.arange(positions).float(), inverse_frequencies(head_dim, rope))
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate `x [..., head_dim]` by the angles of `cos`, `sin` (broadcast over heads)."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)
