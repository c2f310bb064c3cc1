"""The KV cache: preallocated, shared by drafts and verification, rolled back by moving a length."""

import torch
from torch import Tensor

from selfdraft.errors import StudyError


class KVCache:
    """Keys and values of `n_layers` layers, `[batch, kv_heads, capacity, head_dim]` each.

    A token's slot is its position, in every row: rows of different lengths are left-aligned, and
    `slot <= position` is at once the causal mask and the mask of what is not filled or stale.
    `lengths[row]` counts the verified tokens; what lies beyond may be overwritten, so that a rollback
    copies nothing.
    """

    def __init__(
        self,
        n_layers: int,
        n_kv_heads: int,
        head_dim: int,
        batch: int,
        capacity: int,
        dtype: torch.dtype,
        device: torch.device | str = "cpu",
    ) -> None:
        shape = (batch, n_kv_heads, capacity, head_dim)
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(n_layers)]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(n_layers)]
        self.batch, self.capacity = batch, capacity
        self.lengths = [0] * batch
        self.rows: Tensor | None = None if batch == 1 else torch.arange(batch, device=device).view(batch, 1)
        self.bytes_per_token = 2 * n_kv_heads * head_dim * dtype.itemsize  # of one layer

    def write(self, layer: int, keys: Tensor, values: Tensor, step: "Step") -> tuple[Tensor, Tensor]:
        """Store `[batch, tokens, kv_heads, head_dim]` at the step's slots; return the filled part."""
        store_k, store_v = self.keys[layer], self.values[layer]
        if step.start is not None:
            end = step.start + keys.shape[1]
            store_k[:, :, step.start : end] = keys.transpose(1, 2)
            store_v[:, :, step.start : end] = values.transpose(1, 2)
        else:
            assert self.rows is not None
            store_k[self.rows, :, step.positions] = keys
            store_v[self.rows, :, step.positions] = values
        return store_k[:, :, : step.end], store_v[:, :, : step.end]


class Step:
    """Where the tokens of one call stand: positions, rotation, mask. Shared by all layers.

    `starts[row]` is the position of the row's first token; `tokens` is the same for all rows (short
    rows carry filler, whose slots are beyond the row's length and are overwritten later). `tree`, if
    given, is a bool mask `[batch, tokens, tokens]` among the new tokens in place of the causal one;
    `depths [batch, tokens]` are then their positions relative to `starts`, slots stay consecutive.
    """

    def __init__(
        self,
        cos: Tensor,
        sin: Tensor,
        starts: list[int],
        tokens: int,
        group: int,
        capacity: int,
        tree: Tensor | None = None,
        depths: Tensor | None = None,
    ) -> None:
        self.end = max(starts) + tokens
        if self.end > capacity:
            raise StudyError(f"KV cache: {self.end} slots needed, {capacity} allocated; shorten the prompt or gamma")
        uniform = len(set(starts)) == 1
        self.start: int | None = starts[0] if uniform else None
        self.causal_from_empty = uniform and starts[0] == 0 and tokens > 1 and tree is None
        self.mask: Tensor | None = None
        device, dtype = cos.device, cos.dtype
        if uniform and depths is None:
            span = slice(starts[0], starts[0] + tokens)
            self.cos, self.sin = cos[span].view(1, tokens, 1, -1), sin[span].view(1, tokens, 1, -1)
            if tokens == 1 or self.causal_from_empty:
                return
        slots = torch.tensor(starts, device=device).view(-1, 1) + torch.arange(tokens, device=device)
        self.positions = slots  # [batch, tokens]: the slots written
        angles = slots if depths is None else torch.tensor(starts, device=device).view(-1, 1) + depths
        if not (uniform and depths is None):
            self.cos, self.sin = cos[angles].unsqueeze(2), sin[angles].unsqueeze(2)
        keys = torch.arange(self.end, device=device)
        visible = keys <= slots.unsqueeze(-1)  # [batch, tokens, end]
        if tree is not None:
            visible = keys < slots[:, :1, None]
            visible = visible.expand(len(starts), tokens, self.end).clone()
            for row, start in enumerate(starts):
                visible[row, :, start : start + tokens] = tree[row]
        mask = torch.zeros(visible.shape, dtype=dtype, device=device).masked_fill_(~visible, float("-inf"))
        # The query heads of one KV head are folded into the token axis: [batch, 1, group * tokens, end].
        self.mask = mask.unsqueeze(1).repeat(1, 1, group, 1)
