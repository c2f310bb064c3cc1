"""The target's logits equal transformers', for every family, with and without the cache."""

import pytest
import torch

from selfdraft.errors import StudyError
from selfdraft.models.config import LlamaConfig
from selfdraft.models.llama import Llama

BASE = {
    "vocab_size": 211,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
FAMILIES = {
    "llama": ("LlamaConfig", {"tie_word_embeddings": False}),
    "llama3-scaled": ("LlamaConfig", {"rope_parameters": LLAMA3, "tie_word_embeddings": True}),
    "llama-linear-biases": (
        "LlamaConfig",
        {
            "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4},
            "attention_bias": True,
            "mlp_bias": True,
        },
    ),
    "llama-dynamic": ("LlamaConfig", {"rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4}}),
    "qwen2-yarn": (
        "Qwen2Config",
        {
            "rope_parameters": {
                "rope_type": "yarn",
                "factor": 4.0,
                "rope_theta": 1e6,
                "original_max_position_embeddings": 64,
            }
        },
    ),
    "mistral": ("MistralConfig", {"sliding_window": 256, "head_dim": 16}),
    "qwen2": ("Qwen2Config", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3Config", {"head_dim": 16}),
}

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
LONG = {
    "rope_type": "longrope",
    "short_factor": [1.0, 1.1, 1.3, 1.5],
    "long_factor": [1.0, 2.0, 3.0, 4.0],
    "original_max_position_embeddings": 64,
}


def both(name, dtype=torch.float32):
    import transformers

    kind, extra = FAMILIES[name]
    torch.manual_seed(3)
    config = getattr(transformers, kind)(**BASE, **extra)
    stock = transformers.AutoModelForCausalLM.from_config(config).eval().to(dtype)
    with torch.no_grad():
        for parameter_name, parameter in stock.named_parameters():
            # norms and biases off their trivial values, weights large enough for real attention patterns
            parameter.copy_(torch.randn_like(parameter) * 0.2 + (1.0 if "norm" in parameter_name else 0.0))
    raw = stock.config.to_dict()
    ours = Llama(LlamaConfig.from_dict(raw), dict(stock.state_dict())).eval()
    return stock, ours


@pytest.mark.parametrize("name", FAMILIES)
def test_logits_equal_transformers(name):
    stock, ours = both(name)
    tokens = torch.randint(0, 211, (2, 100), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        difference = (stock(tokens).logits - ours(tokens)).abs().max().item()
    assert difference <= 1e-4


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("packed", [False, True])
def test_cached_and_ragged_steps_equal_the_whole_pass(name, packed):
    _, ours = both(name)
    tokens = torch.randint(0, 211, (2, 60), generator=torch.Generator().manual_seed(2))
    n = ours.config.n_layers
    with torch.no_grad():
        whole = ours(tokens)
        if packed:
            ours.pack()
        cache = ours.new_cache(2, 64)
        ours.run(ours.embed(tokens[:, :40]), 0, n, ours.step([0, 0], 40), cache)
        # roll the second row back by 15 and go on raggedly, with the layers split in two ranges
        new = torch.stack((tokens[0, 40:45], tokens[1, 25:30]))
        step = ours.step([40, 25], 5, cache.capacity)
        shallow = ours.run(ours.embed(new), 0, 2, step, cache)
        logits = ours.logits(ours.run(shallow, 2, n, step, cache))
        torch.testing.assert_close(logits[0], whole[0, 40:45], atol=1e-4, rtol=0)
        torch.testing.assert_close(logits[1], whole[1, 25:30], atol=1e-4, rtol=0)
        single = ours.step([45, 30], 1, cache.capacity)
        new = torch.stack((tokens[0, 45:46], tokens[1, 30:31]))
        logits = ours.logits(ours.run(ours.embed(new), 0, n, single, cache))
        torch.testing.assert_close(logits[1], whole[1, 30:31], atol=1e-4, rtol=0)


def test_a_tree_mask_scores_each_branch_as_its_own_sequence():
    _, ours = both("llama")
    n = ours.config.n_layers
    prompt = torch.tensor([[5, 9, 2, 77]])
    # two branches after the prompt: 10 -> 11 and 20 -> 21
    tokens = torch.tensor([[10, 20, 11, 21]])
    tree = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1]], dtype=torch.bool)[None]
    with torch.no_grad():
        cache = ours.new_cache(1, 16)
        ours.run(ours.embed(prompt), 0, n, ours.step([0], 4), cache)
        step = ours.step([4], 4, 16, tree=tree, depths=torch.tensor([[0, 0, 1, 1]]))
        logits = ours.logits(ours.run(ours.embed(tokens), 0, n, step, cache))
        for branch, at in (([10, 11], 2), ([20, 21], 3)):
            alone = ours(torch.cat((prompt, torch.tensor([branch])), dim=1))
            torch.testing.assert_close(logits[0, at], alone[0, -1], atol=1e-4, rtol=0)


def test_blocks_give_back_the_tensors_they_were_made_from():
    stock, ours = both("qwen3")
    for layer, block in enumerate(ours.layers):
        for name, tensor in block.named_tensors().items():
            assert torch.equal(tensor, stock.state_dict()[f"model.layers.{layer}.{name}"])


@pytest.mark.parametrize("length", [60, 100])
@pytest.mark.parametrize(
    "rope",
    [
        YARN,
        YARN | {"mscale": 0.7, "mscale_all_dim": 1.3, "beta_fast": 16, "beta_slow": 2, "truncate": False},
        YARN | {"attention_factor": 1.2},
        LONG,
        LONG | {"factor": 8.0},
        LONG | {"attention_factor": 1.3},
    ],
)
def test_ropes_for_longer_texts_equal_transformers_within_and_beyond_the_original_context(rope, length):
    FAMILIES["rope"] = ("LlamaConfig", {"rope_parameters": rope | {"rope_theta": 1e4}})
    try:
        stock, ours = both("rope")
    finally:
        del FAMILIES["rope"]
    tokens = torch.randint(0, 211, (1, length), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert (stock(tokens).logits - ours(tokens)).abs().max().item() <= 1e-4
        cache = ours.new_cache(1, length)
        ours.reach(length)
        hidden = ours.run(ours.embed(tokens), 0, 4, ours.step([0], length, length), cache)
        torch.testing.assert_close(ours.logits(hidden), ours(tokens), atol=1e-4, rtol=0)


def test_a_rope_of_another_kind_is_refused_by_its_name():
    for rope, said in (
        ({"rope_type": "proportional"}, "rope_type: 'proportional' is not supported; one of default, linear"),
        ({"rope_type": "yarn", "original_max_position_embeddings": 64}, "rope yarn: factor: missing"),
        ({"rope_type": "default", "partial_rotary_factor": 0.5}, "partial_rotary_factor: 0.5 is not supported"),
        ({"rope_type": "linear", "factor": 0}, "rope linear: factor: found 0, a number above 0 is right"),
        (YARN | {"factor": "4"}, "rope yarn: factor: found '4', a number above 0 is right"),
        (LONG | {"short_factor": [1.0] * 3}, "rope longrope: short_factor: found .*, a list of 4 numbers above 0"),
        ([1], r"rope_type: '\[1\]' is not supported"),
    ):
        with pytest.raises(StudyError, match=said):
            LlamaConfig.from_dict({"model_type": "llama", **BASE, "rope_parameters": rope})


@pytest.mark.parametrize(
    ("settings", "context"),
    [
        ({"model_type": "mistral", "sliding_window": 32, "use_sliding_window": False}, 32),
        ({"model_type": "mistral", "sliding_window": None, "use_sliding_window": True}, 256),
        ({"model_type": "llama", "sliding_window": 32, "use_sliding_window": True}, 256),
        ({"model_type": "qwen2", "sliding_window": 32, "use_sliding_window": False}, 256),
        ({"model_type": "qwen2", "sliding_window": 32, "use_sliding_window": True, "max_window_layers": 4}, 256),
        ({"model_type": "qwen2", "sliding_window": 32, "use_sliding_window": True, "max_window_layers": 3}, 32),
        (
            {
                "model_type": "qwen3",
                "sliding_window": 32,
                "use_sliding_window": True,
                "max_window_layers": 0,
                "layer_types": ["full_attention"] * 4,
            },
            256,
        ),
    ],
)
def test_the_context_ends_where_a_layer_would_begin_to_slide(settings, context):
    assert LlamaConfig.from_dict({**BASE, **settings}).max_positions == context


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"layer_types": ["chunked_attention"] * 4}, "layer_types: 'chunked_attention' is not supported"),
        ({"layer_types": ["full_attention"]}, "a list of 4 kinds is right"),
        ({"layer_types": ["sliding_attention"] * 4}, "a layer slides, but use_sliding_window gives it no window"),
        ({"sliding_window": "many"}, "sliding_window: found 'many'"),
    ],
)
def test_layers_that_slide_in_another_way_are_refused(settings, said):
    with pytest.raises(StudyError, match=said):
        LlamaConfig.from_dict({**BASE, "model_type": "qwen2", **settings})
