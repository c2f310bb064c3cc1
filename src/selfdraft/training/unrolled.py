"""A drafter's own steps in training (EAGLE-3's training-time test): step j reads what step j - 1 left, as in serving.

Row t of step 0 is the pair of token t's features and token t + 1. In step j the same row has the layer's output of
step j - 1 for the features, and token t + 1 + j; it stands at position t + j. It sees the keys of step 0 up to its own
row, the target's states of tokens 0 … t, and its own keys of steps 1 … j: no other row's guesses. So a row is a draft
of its own that begins behind token t + 1, and its output in step j predicts token t + 2 + j. Since rows see nothing of
each other but keys of step 0, a row of which no later output is wanted ends there: of a question's tokens step 0 makes
keys and values alone.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from selfdraft.models.eagle3 import Eagle3, Midlayer
from selfdraft.models.llama import Llama
from selfdraft.models.rope import rotate


def unrolled(
    target: Llama,
    draft: Eagle3,
    tokens: Tensor,
    features: Tensor,
    lengths: Sequence[int],
    steps: int,
    rows: Sequence[Tensor] | None = None,
) -> list[Tensor]:
    """The layer's output in each of `steps` steps, in the features' number format, a row each of the step's `rows`.

    Rows whose token would lie behind their sequence's end hold the end's token: nothing may be read of them.

    Args:
        tokens: sequences one behind the other, int64 `[total]`; lengths: tokens of each.
        features: the target's states of these tokens side by side, `[total, depths * hidden]`.
        rows: the rows that a step computes, ascending, int64, each step's among those of the step before; all of them
            in every step if left out.
    """
    layer, device = draft.midlayer, tokens.device
    sizes = torch.tensor(lengths)
    bounds = torch.cat((sizes.new_zeros(1), sizes.cumsum(0)))
    spans = list(pairwise(bounds.tolist()))
    places = torch.arange(len(tokens), device=device)
    starts, ends = (torch.repeat_interleave(at, sizes).to(device) for at in (bounds[:-1], bounds[1:] - 1))
    wanted = [places] * steps if rows is None else [some.to(device) for some in rows]
    target.reach(max(lengths) + steps)

    def both(of: Tensor, state: Tensor, number: int) -> Tensor:
        embedding = target.embed(tokens[torch.minimum(of + 1 + number, ends[of])]).to(features.dtype)
        return layer.both(embedding, state)

    def turned(heads: Tensor, of: Tensor, number: int) -> Tensor:
        at = of - starts[of] + number
        cos, sin = (table[at].unsqueeze(1).to(heads.dtype) for table in (target.cos, target.sin))
        return rotate(heads, cos, sin)

    fused = draft.fuse(features)
    read = both(places, fused, 0)
    keys, values = _keys_and_values(layer, read)
    keys = turned(keys, places, 0)
    now = wanted[0]
    state, queries = fused[now], turned(_queries(layer, read[now]), now, 0)
    own: list[tuple[Tensor, Tensor]] = []  # keys and values of the later steps, a row each of this step's
    outputs: list[Tensor] = []
    for number in range(steps):
        if number:
            stay = torch.searchsorted(now, wanted[number])
            now, state = wanted[number], draft.handed_on(outputs[-1])[stay]
            read = both(now, state, number)
            own = [(key[stay], value[stay]) for key, value in own]
            more = _keys_and_values(layer, read)
            own.append((turned(more[0], now, number), more[1]))
            queries = turned(_queries(layer, read), now, number)
        parts = pairwise(torch.searchsorted(now.cpu(), bounds).tolist())
        mixed = [
            _attend(
                queries[begin:end],
                keys[first:last],
                values[first:last],
                [(key[begin:end], value[begin:end]) for key, value in own],
                now[begin:end] - first,
            )
            for (begin, end), (first, last) in zip(parts, spans, strict=True)
            if begin < end
        ]
        outputs.append(layer.after(state, torch.cat(mixed) if mixed else queries.flatten(1)))
    return outputs


def rows_of(predicting: Sequence[Tensor]) -> list[Tensor]:
    """The rows that each step computes so that step j has an output for each row of `predicting[j]`."""
    return [torch.cat([*predicting[step:]]).unique() for step in range(len(predicting))]


def _weight(layer: Midlayer, x: Tensor) -> Tensor:
    weight = layer.attention.qkv.weight
    assert weight is not None, "train before packing"
    return weight.to(x.dtype)


def _queries(layer: Midlayer, both: Tensor) -> Tensor:
    """`[rows, 2 * hidden]` -> `[rows, heads, head_dim]`."""
    c = layer.config
    made = F.linear(both, _weight(layer, both)[: c.n_heads * c.head_dim])
    return made.unflatten(-1, (c.n_heads, c.head_dim))


def _keys_and_values(layer: Midlayer, both: Tensor) -> tuple[Tensor, Tensor]:
    """`[rows, 2 * hidden]` -> `[rows, kv_heads, head_dim]` twice."""
    c = layer.config
    made = F.linear(both, _weight(layer, both)[c.n_heads * c.head_dim :])
    keys, values = made.unflatten(-1, (2, c.n_kv_heads, c.head_dim)).unbind(1)
    return keys, values


def _attend(
    queries: Tensor, keys: Tensor, values: Tensor, own: Sequence[tuple[Tensor, Tensor]], places: Tensor
) -> Tensor:
    """Some rows of one sequence: attention to step 0 up to their places, and to their own later keys.

    queries `[rows, heads, head_dim]`; keys, values `[length, kv_heads, head_dim]` of step 0; own: the same of each
    later step, `[rows, …]`; places int64 `[rows]`. Returns `[rows, heads * head_dim]`.
    """
    (rows, heads, size), (length, kv_heads, _) = queries.shape, keys.shape
    group, scale = heads // kv_heads, size**-0.5
    ahead = torch.arange(length, device=places.device) > places.unsqueeze(1)
    asked = queries.unflatten(1, (kv_heads, group)).permute(1, 2, 0, 3)
    past = torch.bmm(asked.reshape(kv_heads, group * rows, size), keys.permute(1, 2, 0))
    scores = (past.view(kv_heads, group, rows, length).float() * scale).masked_fill(ahead, float("-inf"))
    self_scores = [(asked * key.transpose(0, 1).unsqueeze(1)).sum(-1, keepdim=True).float() * scale for key, _ in own]
    weights = torch.softmax(torch.cat((scores, *self_scores), dim=-1), dim=-1).to(queries.dtype)
    past_weights = weights[..., :length].reshape(kv_heads, group * rows, length)
    out = torch.bmm(past_weights, values.transpose(0, 1)).view(kv_heads, group, rows, size)
    for place, (_, value) in enumerate(own):
        out = out + weights[..., length + place, None] * value.transpose(0, 1).unsqueeze(1)
    return out.permute(2, 0, 1, 3).reshape(rows, heads * size)
