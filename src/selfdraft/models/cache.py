"""The KV cache: preallocated, shared by drafts and verification, rolled back by moving a length."""

from copy import copy

import torch
from torch import Tensor

from selfdraft.errors import StudyError


class KVCache:
    """Keys and values of `n_layers` layers, `[batch, 2 * kv_heads, capacity, head_dim]` each.

    A token's slot is its position, in every row: rows of different lengths are left-aligned, and
    `slot <= position` is at once the causal mask and the mask of what is not filled or stale. How many
    tokens of a row are verified is known to the session; what lies beyond may be overwritten, so that a
    rollback copies nothing.
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
        shape = (batch, 2 * n_kv_heads, capacity, head_dim)  # a layer's keys and values, written as one
        self.layers = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(n_layers)]
        self.n_kv_heads, self.batch, self.capacity = n_kv_heads, batch, capacity
        self.rows = torch.arange(batch, device=device).view(batch, 1)
        self.bytes_per_token = 2 * n_kv_heads * head_dim * dtype.itemsize  # of one layer

    def of_rows(self, rows: slice) -> "KVCache":
        """These rows alone: what is written there is written here."""
        part = copy(self)
        part.layers = [layer[rows] for layer in self.layers]
        part.batch = part.layers[0].shape[0]
        part.rows = self.rows[: part.batch]
        return part

    def write(self, layer: int, keys_values: Tensor, step: "Step") -> tuple[Tensor, Tensor]:
        """Store `[batch, tokens, 2 * kv_heads, head_dim]` at the step's slots.

        Returns the filled part's keys and values, `[batch, kv_heads, filled, head_dim]` each.
        """
        store = self.layers[layer]
        if step.start is not None:
            store[:, :, step.start : step.start + keys_values.shape[1]] = keys_values.transpose(1, 2)
        else:
            store[self.rows, :, step.positions] = keys_values
        return store[:, : self.n_kv_heads, : step.end], store[:, self.n_kv_heads :, : step.end]

    def move(self, sources: Tensor, goals: Tensor) -> None:
        """Copy the slots `sources [batch, count]` of each row to its slots `goals`, in place, in all layers."""
        for store in self.layers:
            store[self.rows, :, goals] = store[self.rows, :, sources]


class Step:
    """Where the tokens of one call stand: positions, rotation, mask. Shared by all layers.

    `starts[row]` is the position of the row's first token; `tokens` is the same for all rows (short
    rows carry filler, whose slots are beyond the row's length and are overwritten later). `tree`, if
    given, is a bool mask `[batch, tokens, tokens]` among the new tokens in place of the causal one, or a wider one
    that says of the slots right before them too who sees them; `depths [batch, tokens]` are then their positions
    relative to `starts`, slots stay consecutive.
    """

    def __init__(
        self,
        cos: Tensor,
        sin: Tensor,
        starts: list[int],
        tokens: int,
        heads: tuple[int, int],
        capacity: int,
        tree: Tensor | None = None,
        depths: Tensor | None = None,
    ) -> None:
        n_heads, n_kv_heads = heads
        group = n_heads // n_kv_heads
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
            self._rotate(cos[span].view(1, tokens, 1, -1), sin[span].view(1, tokens, 1, -1), heads)
            if tokens == 1 or self.causal_from_empty:
                return
        slots = torch.tensor(starts, device=device).view(-1, 1) + torch.arange(tokens, device=device)
        self.positions = slots  # [batch, tokens]: the slots written
        angles = slots if depths is None else torch.tensor(starts, device=device).view(-1, 1) + depths
        if not (uniform and depths is None):
            self._rotate(cos[angles].unsqueeze(2), sin[angles].unsqueeze(2), heads)
        keys = torch.arange(self.end, device=device)
        visible = keys <= slots.unsqueeze(-1)  # [batch, tokens, end]
        if tree is not None:
            first = slots[:, :1] - (tree.shape[-1] - tokens)
            visible = (keys < first.unsqueeze(-1)).expand(len(starts), tokens, self.end).clone()
            columns = first + torch.arange(tree.shape[-1], device=device)
            visible.scatter_(2, columns.unsqueeze(1).expand(-1, tokens, -1), tree.expand(len(starts), -1, -1))
        mask = torch.zeros(visible.shape, dtype=dtype, device=device).masked_fill_(~visible, float("-inf"))
        # The query heads of one KV head are folded into the token axis: [batch, 1, group * tokens, end].
        self.mask = mask.unsqueeze(1).repeat(1, 1, group, 1)

    @classmethod
    def of_fixed_shape(
        cls, cos: Tensor, sin: Tensor, starts: Tensor, tokens: int, heads: tuple[int, int], window: int
    ) -> "Step":
        """The same step with nothing known to the host: `starts` int64 `[batch]` lies on the device.

        Attention spans the cache's first `window` slots, whatever is filled, so that a compiled or
        captured step serves every position below. The caller sees to starts + tokens <= window.
        """
        step = cls.__new__(cls)
        step.start, step.end, step.causal_from_empty = None, window, False
        step.positions = starts.view(-1, 1) + torch.arange(tokens, device=starts.device)
        step._rotate(cos[step.positions].unsqueeze(2), sin[step.positions].unsqueeze(2), heads)
        visible = torch.arange(window, device=starts.device) <= step.positions.unsqueeze(-1)
        mask = torch.zeros(visible.shape, dtype=cos.dtype, device=cos.device).masked_fill(~visible, float("-inf"))
        step.mask = mask.unsqueeze(1).repeat(1, 1, heads[0] // heads[1], 1)
        return step

    def _rotate(self, cos: Tensor, sin: Tensor, heads: tuple[int, int]) -> None:
        """Tables over all heads of q, k and v, `[·, tokens, heads + 2 kv_heads, head_dim]`.

        The angle of v is zero: one rotation of the whole product costs less than taking it apart.
        """
        n_heads, n_kv_heads = heads
        shape = (*cos.shape[:2], n_heads + 2 * n_kv_heads, cos.shape[-1])
        self.cos, self.sin = cos.new_ones(shape), sin.new_zeros(shape)
        self.cos[:, :, :-n_kv_heads] = cos
        self.sin[:, :, :-n_kv_heads] = sin
