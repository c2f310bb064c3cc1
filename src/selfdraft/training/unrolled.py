"""A drafter's own steps in training (EAGLE-3's training-time test): step j reads what step j - 1 left, as in serving.

Row t of step 0 is the pair of token t's features and token t + 1. In step j the same row has the layer's output of
step j - 1 for the features, and token t + 1 + j; it stands at position t + j. It sees the keys of step 0 up to its own
row, the target's states of tokens 0 … t, and its own keys of steps 1 … j: no other row's guesses. So a row is a draft
of its own that begins behind token t + 1, and its output in step j predicts token t + 2 + j.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from selfdraft.models.eagle3 import Eagle3, Midlayer
from selfdraft.models.llama import Llama
from selfdraft.models.rope import rotate


def unrolled(
    target: Llama, draft: Eagle3, tokens: Tensor, features: Tensor, lengths: Sequence[int], steps: int
) -> list[Tensor]:
    """The layer's output in each of `steps` steps, `[total, hidden]` each, in the features' number format.

    Rows whose token would lie behind their sequence's end hold the end's token: nothing may be read of them.

    Args:
        tokens: sequences one behind the other, int64 `[total]`; lengths: tokens of each.
        features: the target's states of these tokens side by side, `[total, depths * hidden]`.
    """
    dtype = features.dtype
    ends = torch.repeat_interleave(torch.tensor(lengths).cumsum(0) - 1, torch.tensor(lengths)).to(tokens.device)
    rows = torch.arange(len(tokens), device=tokens.device)
    target.reach(max(lengths) + steps)
    masks = {length: _causal(length, dtype, tokens.device) for length in set(lengths)}
    layer = draft.midlayer
    state = draft.fuse(features)
    seen: list[tuple[list[Tensor], list[Tensor]]] = []  # keys and values of each step, a tensor a sequence
    outputs = []
    for number in range(steps):
        embedding = target.embed(tokens[torch.minimum(rows + 1 + number, ends)]).to(dtype)
        qkv = _heads(layer, layer.both(embedding, state))
        queries, keys, values = [], [], []
        for part in qkv.split(list(lengths)):
            turned = _turned(target, layer, part, number)
            queries.append(turned[0])
            keys.append(turned[1])
            values.append(turned[2])
        seen.append((keys, values))
        mixed = [
            _attend(query, [k[place] for k, _ in seen], [v[place] for _, v in seen], masks[lengths[place]])
            for place, query in enumerate(queries)
        ]
        output = layer.after(state, torch.cat(mixed))
        outputs.append(output)
        state = draft.handed_on(output)
    return outputs


def _heads(layer: Midlayer, both: Tensor) -> Tensor:
    """`[total, 2 * hidden]` -> queries, keys and values, `[total, heads + 2 kv_heads, head_dim]`."""
    c = layer.config
    made: Tensor = layer.attention.qkv(both)
    return made.view(len(both), c.n_heads + 2 * c.n_kv_heads, c.head_dim)


def _turned(target: Llama, layer: Midlayer, qkv: Tensor, first: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of one sequence whose first row stands at position `first`, heads in front.

    `[kv_heads, group, rows, head_dim]`, and `[kv_heads, rows, head_dim]` twice.
    """
    c, rows = layer.config, len(qkv)
    cos, sin = (table[first : first + rows].unsqueeze(1).to(qkv.dtype) for table in (target.cos, target.sin))
    turning = c.n_heads + c.n_kv_heads
    turned = rotate(qkv[:, :turning], cos, sin)
    queries = turned[:, : c.n_heads].unflatten(1, (c.n_kv_heads, -1)).permute(1, 2, 0, 3)
    return queries, turned[:, c.n_heads :].transpose(0, 1), qkv[:, turning:].transpose(0, 1)


def _attend(queries: Tensor, keys: Sequence[Tensor], values: Sequence[Tensor], mask: Tensor) -> Tensor:
    """One sequence: attention to step 0 by `mask` and to each row's own later keys, `[rows, heads * head_dim]`.

    `keys` and `values` are those of each step up to this one.
    """
    kv_heads, group, rows, size = queries.shape
    scale = size**-0.5
    past = torch.bmm(queries.reshape(kv_heads, group * rows, size), keys[0].transpose(1, 2))
    scores = past.view(kv_heads, group, rows, rows).float() * scale + mask
    own = [(queries * key.unsqueeze(1)).sum(-1, keepdim=True).float() * scale for key in keys[1:]]
    weights = torch.softmax(torch.cat((scores, *own), dim=-1), dim=-1).to(queries.dtype)
    past_weights = weights[..., :rows].reshape(kv_heads, group * rows, rows)
    out = torch.bmm(past_weights, values[0]).view(kv_heads, group, rows, size)
    for place, value in enumerate(values[1:]):
        out = out + weights[..., rows + place, None] * value.unsqueeze(1)
    return out.permute(2, 0, 1, 3).reshape(rows, kv_heads * group * size)


def _causal(rows: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What is added to the scores of step 0's keys, float32 `[rows, rows]`."""
    return torch.full((rows, rows), float("-inf"), device=device).triu(1)
