"""Two products equal PyTorch's attention; a step of fixed shape equals the loop's step."""

import pytest
import torch
import torch.nn.functional as F
from tiny_llama import tiny_llama

from selfdraft.models.attention import FEW, LONG, attend, products_are_faster
from selfdraft.models.cache import Step


@pytest.mark.parametrize("rows", [3, 27])
@pytest.mark.parametrize("masked", [False, True])
def test_products_are_attention(rows, masked):
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=generator).bfloat16()

    filled = LONG + 5
    store = normal(1, 6, filled + 9, 16)
    queries, keys, values = normal(1, 3, rows, 16), store[:, :3, :filled], store[:, 3:, :filled]
    mask = torch.zeros(1, 1, rows, filled, dtype=torch.bfloat16) if masked else None
    if mask is not None:
        mask[:, :, : rows // 2, -4:] = float("-inf")
    assert products_are_faster(queries, keys)
    exact = F.scaled_dot_product_attention(
        queries.double(), keys.double(), values.double(), None if mask is None else mask.double()
    )
    error = (attend(queries, keys, values, mask).double() - exact).abs().max()
    assert error < exact.abs().max() / 64  # four units in bfloat16's last place: scores are rounded once more


@pytest.mark.parametrize(
    ("dtype", "batch", "rows", "filled"),
    [
        (torch.float32, 1, 3, LONG),
        (torch.bfloat16, 2, 3, LONG),
        (torch.bfloat16, 1, FEW + 1, LONG),
        (torch.bfloat16, 1, 3, LONG - 1),
    ],
)
def test_float32_batches_long_and_short_texts_keep_the_one_kernel(dtype, batch, rows, filled):
    queries, keys = torch.zeros(batch, 3, rows, 8, dtype=dtype), torch.zeros(batch, 3, filled, 8, dtype=dtype)
    assert not products_are_faster(queries, keys)


@pytest.mark.parametrize("tokens", [1, 3])
def test_a_step_of_fixed_shape_computes_what_the_loops_step_does(tokens):
    """Whatever the slots beyond hold: here noise."""
    target = tiny_llama()
    heads = (target.config.n_heads, target.config.n_kv_heads)
    starts, window = [5, 2], 16
    text = torch.arange(2 * 8).view(2, 8) % 61
    logits = []
    for fixed in (False, True):
        cache = target.new_cache(2, window)
        with torch.no_grad():
            target.run(target.embed(text), 0, 4, target.step([0, 0], 8), cache)
            for layer in cache.layers:
                layer[:, :, 8:] = 3.0
            new = torch.tensor([[7, 8, 9], [1, 2, 3]])[:, :tokens]
            step = target.step(starts, tokens, window)
            if fixed:
                step = Step.of_fixed_shape(target.cos, target.sin, torch.tensor(starts), tokens, heads, window)
            logits.append(target.logits(target.run(target.embed(new), 0, 4, step, cache)))
    torch.testing.assert_close(logits[0], logits[1], atol=1e-5, rtol=1e-4)
