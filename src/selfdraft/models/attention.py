"""Attention of new tokens to the filled cache: PyTorch's kernel, or two matrix products where those are faster."""

import torch
import torch.nn.functional as F
from torch import Tensor

# Measured on two cores, see docs/benchmarks.md: from here on the products win, for one query and for many.
LONG, FEW = 768, 64


def attend(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax attention, `[batch, kv_heads, rows, head_dim]` like `queries`.

    Args:
        queries: the query heads of one KV head folded into its rows, `[batch, kv_heads, rows, head_dim]`.
        keys, values: the filled cache, `[batch, kv_heads, filled, head_dim]`.
        mask: added to the scores, `[batch, 1, rows, filled]`; None if every row sees every key.
    """
    if not products_are_faster(queries, keys):
        return F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    # Few queries, many keys: the keys are the tall matrix of the product, so that all threads share them.
    scores = torch.bmm(keys[0], queries[0].transpose(1, 2)).transpose(1, 2).float() * queries.shape[-1] ** -0.5
    if mask is not None:
        scores += mask[0]
    return torch.bmm(torch.softmax(scores, dim=-1).to(values.dtype), values[0]).unsqueeze(0)


def products_are_faster(queries: Tensor, keys: Tensor) -> bool:
    """One sequence with a long cache, 16-bit, on the CPU; float32 keeps the one kernel that identity rests on."""
    return (
        queries.device.type == "cpu"
        and queries.dtype == torch.bfloat16
        and queries.shape[0] == 1
        and queries.shape[2] <= FEW
        and keys.shape[2] >= LONG
    )
