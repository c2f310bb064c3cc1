"""Where a drafter's training starts: fusion, attention and MLP by least squares, so that it predicts from step 0 on.

What a row should leave is the target's final state of the token after its own, since the drafter has the target's norm
and rows of its head. The fusion is the linear map to it from the features, and heads that look at their own place
add what the token's embedding says: queries and keys are made constant (as far as a linear map of normed states can
be), and the rotation of the fastest pairs lets them match at distance 0 alone. What the sum still lacks is
regressed on the units of the target's last MLP. Of the rows of the last key-value head nothing is used yet: there the
attention of the target's last layer stands ready, with an output of zero.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from selfdraft.models.eagle3 import Eagle3
from selfdraft.models.llama import Llama
from selfdraft.models.regression import Regression
from selfdraft.training.batches import steps as grouped
from selfdraft.training.packed import packed, packed_label_counts
from selfdraft.training.states import CapturedStates

ROWS = 32_768  # pairs at most that a map is fitted to: many times its inputs
PART = 1024  # labels of a pack, at least
SHARPNESS = 12.0  # by how much a head's score of its own place exceeds what the rotation leaves of it on average
FASTEST = 3  # pairs of numbers that the rotation turns the fastest, which tell places apart


@torch.no_grad()
def regress(target: Llama, draft: Eagle3, states: CapturedStates) -> None:
    """Set the drafter's fusion and layer from the states of a split; nothing is random."""
    layer, hidden = draft.midlayer, draft.config.hidden_size
    ends = Regression(len(draft.features) * hidden + hidden, hidden, target.device)
    for features, embedding, final in _rows(target, draft, states):
        ends.add(torch.cat((features, layer.input_norm(embedding)), dim=-1), final)
    fusion, of_embedding = ends.solve().split((len(draft.features) * hidden, hidden), dim=-1)
    _weight(draft.fc.weight).copy_(fusion)
    values, outputs = _in_few_numbers(target, draft, of_embedding)

    constant = Regression(2 * hidden, 1, target.device)
    rest = Regression(draft.config.intermediate_size, hidden, target.device)
    for features, embedding, final in _rows(target, draft, states):
        state = features @ fusion.T
        both = layer.both(embedding, state)
        constant.add(both, torch.ones(len(both), 1, device=both.device))
        mixed = state + both[:, :hidden] @ values.T @ outputs.T
        gate, up = F.linear(layer.post_norm(mixed), _weight(layer.gate_up.weight)).chunk(2, dim=-1)
        rest.add(F.silu(gate) * up, final - mixed)
    _weight(layer.down.weight).copy_(rest.solve())
    _look_at_the_own_place(draft, constant.solve().squeeze(0), values, outputs)


def _weight(weight: Tensor | None) -> Tensor:
    assert weight is not None, "start before packing"
    return weight.data


def _rows(target: Llama, draft: Eagle3, states: CapturedStates) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Normed features side by side, the following token's embedding, and that token's final state, float32."""
    left = ROWS
    for group in grouped(packed_label_counts(states.sequences, 1), PART):
        pack = packed(states.sequences, group, 1)
        followed = torch.ones(len(pack.index), dtype=torch.bool)
        followed[torch.tensor(pack.lengths).cumsum(0) - 1] = False
        at = pack.index[followed][:left]
        tokens = torch.from_numpy(states.sequences.tokens)[at + 1].long().to(target.device)
        parts = [states.by_depth[depth][at].to(target.device).float() for depth in draft.features]
        if len(draft.fc_norm):
            parts = [norm(part) for norm, part in zip(draft.fc_norm, parts, strict=True)]
        yield torch.cat(parts, dim=-1), target.embed(tokens).float(), states.final[at + 1].to(target.device).float()
        left -= len(at)
        if left == 0:
            return


def _own(draft: Eagle3) -> int:
    """The key-value heads that look at their own place: all but the last, if there are several."""
    return max(1, draft.config.n_kv_heads - 1)


def _in_few_numbers(target: Llama, draft: Eagle3, of_embedding: Tensor) -> tuple[Tensor, Tensor]:
    """Values `[numbers, hidden]` and outputs `[hidden, numbers]` whose product is nearest the map of the embedding.

    Near over the tokens that are drafted. `numbers` are those that the heads of `_own` have.
    """
    made = draft.midlayer.input_norm(target.embed(draft.kept_ids).float()) @ of_embedding.T
    directions = torch.linalg.eigh(made.T @ made).eigenvectors.flip(-1)
    numbers = min(_own(draft) * draft.config.head_dim, draft.config.hidden_size)
    outputs = directions[:, :numbers]
    return outputs.T @ of_embedding, outputs


def _look_at_the_own_place(draft: Eagle3, constant: Tensor, values: Tensor, outputs: Tensor) -> None:
    """Fill queries, keys, values and the output of the heads. `constant [2 * hidden]` maps what they read to 1."""
    c, own, size = draft.config, _own(draft), draft.config.head_dim
    group, pairs = c.n_heads // c.n_kv_heads, min(FASTEST, size // 2)
    q, k, v = _weight(draft.midlayer.attention.qkv.weight).split(
        (c.n_heads * size, c.n_kv_heads * size, c.n_kv_heads * size)
    )
    q, k, v = q.unflatten(0, (c.n_heads, size)), k.unflatten(0, (-1, size)), v.unflatten(0, (-1, size))
    o = _weight(draft.midlayer.attention.o.weight)
    o.zero_()
    length = (SHARPNESS * size**0.5 / pairs) ** 0.5
    for head in range(own):
        first, here = head * group, slice(head * size, min((head + 1) * size, len(values)))
        q[first : first + group].zero_()
        k[head].zero_()
        v[head].zero_()
        q[first, :pairs] = k[head, :pairs] = length * constant
        v[head, : here.stop - here.start, : c.hidden_size] = values[here]
        o[:, first * size : first * size + here.stop - here.start] = outputs[:, here]
