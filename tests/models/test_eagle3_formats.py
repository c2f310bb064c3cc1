"""EAGLE-3 drafters of other programs: names and keys, a round trip that changes nothing, and what is refused."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_llama import moved_eagle3, tiny_llama

from selfdraft.decoding.loop import speculate
from selfdraft.decoding.policy import Policy
from selfdraft.drafters.eagle3 import Eagle3Drafter
from selfdraft.errors import StudyError
from selfdraft.models.eagle3_formats import FORMS, export_eagle3, import_eagle3

KEPT = torch.tensor([0, 3, 4, 9, 20, 60])
LAYER = [
    "hidden_norm.weight",
    "input_layernorm.weight",
    "mlp.down_proj.weight",
    "mlp.gate_proj.weight",
    "mlp.up_proj.weight",
    "post_attention_layernorm.weight",
    "self_attn.k_proj.weight",
    "self_attn.o_proj.weight",
    "self_attn.q_proj.weight",
    "self_attn.v_proj.weight",
]
REST = ["d2t", "fc.weight", "lm_head.weight", "norm.weight", "t2d"]


@pytest.fixture(scope="module")
def target():
    return tiny_llama()


@pytest.fixture(params=FORMS)
def folder(request, target, tmp_path):
    export_eagle3(moved_eagle3(target, (1, 3), KEPT, True, True), target, tmp_path, request.param, "tiny", 3)
    return tmp_path


def change(folder, inner=False, **keys):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    place = config["transformer_layer_config"] if inner and "transformer_layer_config" in config else config
    place.update(keys)
    path.write_text(json.dumps({key: value for key, value in config.items() if value != "gone"}))


def retensor(folder, **tensors):
    path = folder / "model.safetensors"
    found = load_file(path) | tensors
    save_file({name: tensor for name, tensor in found.items() if tensor is not None}, path)


def refused(folder, target):
    with pytest.raises(StudyError) as error:
        import_eagle3(folder, target)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_raw_names_and_keys_are_those_of_sglang_and_vllm(target, tmp_path):
    export_eagle3(moved_eagle3(target, (1, 2, 3), KEPT), target, tmp_path, "raw")
    assert sorted(load_file(tmp_path / "model.safetensors")) == sorted([*REST, *(f"midlayer.{name}" for name in LAYER)])
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLMEagle3"]
    assert config["eagle_config"] == {"use_aux_hidden_state": True, "eagle_aux_hidden_state_layer_ids": [0, 1, 2]}
    assert config["eagle_aux_hidden_state_layer_ids"] == [1, 2, 3]
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "vocab_size": 61, "draft_vocab_size": 6, "head_dim": 8}
    assert {key: config[key] for key in sizes} == sizes
    assert (config["rope_theta"], config["rope_scaling"], config["torch_dtype"]) == (10000.0, None, "float32")
    assert (config["tie_word_embeddings"], config["norm_before_residual"]) == (False, False)


def test_names_and_keys_of_speculators(target, tmp_path):
    export_eagle3(moved_eagle3(target, (1, 3), KEPT, True), target, tmp_path, "speculators", "org/tiny", 5)
    tensors = load_file(tmp_path / "model.safetensors")
    norms = ["fc_norm.0.weight", "fc_norm.1.weight", "embed_tokens.weight"]
    assert sorted(tensors) == sorted([*REST, *norms, *(f"layers.0.{name}" for name in LAYER)])
    assert torch.equal(tensors["embed_tokens.weight"], target.embedding)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["speculators_model_type"], config["architectures"]) == ("eagle3", ["Eagle3Speculator"])
    assert config["eagle_aux_hidden_state_layer_ids"] == [1, 3]
    assert config["transformer_layer_config"]["num_hidden_layers"] == 1
    assert config["speculators_config"]["proposal_methods"][0]["speculative_tokens"] == 5
    assert config["speculators_config"]["verifier"]["name_or_path"] == "org/tiny"


def test_a_round_trip_changes_nothing_and_accepts_the_same(target, folder):
    before = moved_eagle3(target, (1, 3), KEPT, True, True)
    after = import_eagle3(folder, target)
    assert (after.features, after.norm_output) == (before.features, before.norm_output)
    ours, theirs = before.named_tensors(), after.named_tensors()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    runs = [
        speculate(target, Eagle3Drafter(target, draft), [[1, 2, 3]], Policy("greedy"), 3, 30, torch.Generator())
        for draft in (before, after)
    ]
    assert [cycle.accepted for cycle in runs[0].cycles] == [cycle.accepted for cycle in runs[1].cycles]


@pytest.mark.parametrize("which", ["eagle_config", "eagle_aux_hidden_state_layer_ids"])
def test_either_program_alone_says_the_layers_and_none_means_the_usual_ones(target, tmp_path, which):
    export_eagle3(moved_eagle3(target, (1, 2), KEPT), target, tmp_path, "raw")
    change(tmp_path, **{which: "gone"})
    assert import_eagle3(tmp_path, target).features == (1, 2)
    change(tmp_path, eagle_config="gone", eagle_aux_hidden_state_layer_ids="gone")
    assert import_eagle3(tmp_path, target).features == (1, 2)  # EAGLE-3's own of four layers


def test_what_a_program_leaves_out_is_put_back(target, folder):
    retensor(folder, t2d=None)
    assert import_eagle3(folder, target).kept_ids.tolist() == KEPT.tolist()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"hidden_size": 64}, "hidden_size: found 64, the target's is 32: this drafter is for another target"),
        ({"vocab_size": 100}, "vocab_size: found 100, the target's is 61: this drafter is for another target"),
        ({"rope_theta": 500000.0}, "rope: rope_theta is 500000.0, the target's is 10000.0"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, "rope: factor is 2.0, the target's is None"),
        ({"num_hidden_layers": 2}, "num_hidden_layers: found 2, one layer is supported"),
    ],
)
def test_a_drafter_of_another_target_is_refused(target, folder, keys, message):
    change(folder, inner=True, **keys)
    assert message in refused(folder, target)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"eagle_aux_hidden_state_layer_ids": [1, 9]}, "layer_ids: 9 is not a depth of the target (0…4)"),
        ({"eagle_aux_hidden_state_layer_ids": [3, 1]}, "layer_ids: found [3, 1], ascending depths"),
        ({"eagle_aux_hidden_state_layer_ids": "all"}, "layer_ids: found 'all', a list of layers is right"),
        ({"eagle_aux_hidden_state_layer_ids": [1, 2, 3], "eagle_config": "gone"}, "missing tensors: fc_norm.2.weight"),
        ({"target_hidden_size": 64}, "target_hidden_size: found 64, the target's is 32"),
        ({"draft_vocab_size": 7}, "draft_vocab_size: found 7, model.safetensors has 6 rows"),
        ({"norm_before_residual": True}, "norm_before_residual: found True, false is what is supported"),
        ({"tie_word_embeddings": True}, "tie_word_embeddings: found True, false is what is supported"),
        ({"fc_norm": False}, "unknown tensors: fc_norm.0.weight, fc_norm.1.weight"),
        ({"norm_output": 1}, "norm_output: found 1, true or false is right"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(target, folder, keys, message):
    change(folder, **keys)
    assert message in refused(folder, target)


def test_layers_that_disagree_are_refused(target, tmp_path):
    export_eagle3(moved_eagle3(target, (1, 3), KEPT), target, tmp_path, "raw")
    change(tmp_path, eagle_aux_hidden_state_layer_ids=[1, 2])
    assert "says depths [1, 2] and eagle_config" in refused(tmp_path, target)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"norm.weight": None, "lm_head.weight": None}, "missing tensors: lm_head.weight, norm.weight"),
        ({"more.weight": torch.ones(2)}, "unknown tensors: more.weight"),
        ({"d2t": torch.tensor([0, 2, 2, 6, 16, 99])}, "d2t: leads to tokens 0…104, the target has 0…60"),
        ({"d2t": torch.tensor([0, 2, 2, 6, 16, 99]), "t2d": None}, "d2t: leads to tokens that the target does not"),
        ({"d2t": torch.tensor([4, 2, 2, 6, 16, 55])}, "d2t: the tokens that it leads to do not ascend"),
        ({"t2d": torch.ones(61, dtype=torch.bool)}, "t2d: says other tokens than d2t"),
        ({"embed_tokens.weight": torch.ones(61, 32)}, "embed_tokens.weight: is not the target's embedding"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(target, folder, tensors, message):
    retensor(folder, **tensors)
    assert message in refused(folder, target)


def test_a_bias_is_refused_and_a_confidence_head_left_out(target, tmp_path):
    biased = moved_eagle3(target, (1, 2), KEPT, bias_rank=3)
    for form in FORMS:
        with pytest.raises(
            StudyError, match=f"^bias_rank: the form {form} has no place for a bias by the token before"
        ):
            export_eagle3(biased, target, tmp_path, form)
        assert not list(tmp_path.iterdir())
    export_eagle3(moved_eagle3(target, (1, 2), KEPT, confidence=True), target, tmp_path, "raw")
    assert sorted(load_file(tmp_path / "model.safetensors")) == sorted([*REST, *(f"midlayer.{name}" for name in LAYER)])
    assert import_eagle3(tmp_path, target).confidence is None


def test_features_without_a_layer_id_are_refused(target, tmp_path):
    for features, form, told in (
        ((0, 2), "raw", "depth 0, the embedding"),
        ((1, 4), "speculators", "depth 4, the last"),
    ):
        with pytest.raises(StudyError, match=told):
            export_eagle3(moved_eagle3(target, features, KEPT), target, tmp_path, form)
    with pytest.raises(StudyError, match="form: 'gguf' is unknown; one of raw, speculators is right"):
        export_eagle3(moved_eagle3(target, (1, 2), KEPT), target, tmp_path, "gguf")
