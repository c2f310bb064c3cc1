"""EAGLE-3's drafter: how it starts, its files, and what is refused."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_llama import moved_eagle3, tiny_llama

from selfdraft.errors import StudyError
from selfdraft.models.eagle3 import check_features, load_eagle3, save_eagle3, untrained_eagle3, usual_features
from selfdraft.models.exit import target_identity

KEPT = torch.tensor([0, 3, 4, 9, 20, 60])
HIDDEN, KV, INNER, VOCAB = 32, 16, 64, 61


@pytest.fixture(scope="module")
def target():
    return tiny_llama()


@pytest.fixture
def folder(target, tmp_path):
    """A checkpoint of two features with all switches on."""
    draft = moved_eagle3(target, (1, 3), KEPT, fc_norm=True, norm_output=True)
    save_eagle3(draft, tmp_path, torch.float32)
    write_config(target, tmp_path)
    return tmp_path


def write_config(target, folder, **other):
    config = {"kind": "eagle3", "features": [1, 3], "fc_norm": True, "norm_output": True}
    (folder / "config.json").write_text(json.dumps(config | {"target": target_identity(target)} | other))


def change(folder, **tensors):
    path = folder / "draft.safetensors"
    found = load_file(path) | tensors
    save_file({name: tensor for name, tensor in found.items() if tensor is not None}, path)


def refused(folder, target):
    with pytest.raises(StudyError) as error:
        load_eagle3(folder, target)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_names_shapes_and_types_are_those_of_eagle_3(target, folder):
    found = {name: (tuple(t.shape), t.dtype) for name, t in load_file(folder / "draft.safetensors").items()}
    weights = {
        "fc_norm.0": (HIDDEN,),
        "fc_norm.1": (HIDDEN,),
        "fc": (HIDDEN, 2 * HIDDEN),
        "midlayer.input_layernorm": (HIDDEN,),
        "midlayer.hidden_norm": (HIDDEN,),
        "midlayer.post_attention_layernorm": (HIDDEN,),
        "midlayer.self_attn.q_proj": (HIDDEN, 2 * HIDDEN),
        "midlayer.self_attn.k_proj": (KV, 2 * HIDDEN),
        "midlayer.self_attn.v_proj": (KV, 2 * HIDDEN),
        "midlayer.self_attn.o_proj": (HIDDEN, HIDDEN),
        "midlayer.mlp.gate_proj": (INNER, HIDDEN),
        "midlayer.mlp.up_proj": (INNER, HIDDEN),
        "midlayer.mlp.down_proj": (HIDDEN, INNER),
        "norm": (HIDDEN,),
        "lm_head": (len(KEPT), HIDDEN),
    }
    expected = {f"{name}.weight": (shape, torch.float32) for name, shape in weights.items()}
    assert found == expected | {"d2t": ((len(KEPT),), torch.int64), "t2d": ((VOCAB,), torch.bool)}


def test_the_map_leads_to_the_targets_tokens(folder):
    tensors = load_file(folder / "draft.safetensors")
    assert (torch.arange(len(KEPT)) + tensors["d2t"]).tolist() == KEPT.tolist()
    assert tensors["t2d"].nonzero().squeeze(1).tolist() == KEPT.tolist()


def test_a_checkpoint_is_loaded_as_it_was(target, folder):
    draft, config = load_eagle3(folder, target)
    saved = load_file(folder / "draft.safetensors")
    assert {name: tensor.tolist() for name, tensor in draft.named_tensors().items()} == {
        name: tensor.tolist() for name, tensor in saved.items()
    }
    assert (draft.features, draft.norm_output, config["kind"]) == ((1, 3), True, "eagle3")


def test_all_that_is_not_the_targets_is_trained(target):
    draft = untrained_eagle3(target, (1, 2, 4), KEPT, torch.float32, fc_norm=True)
    groups = draft.parameter_groups()
    assert {part: len(group) for part, group in groups.items()} == {"norm": 7, "fc": 1, "layer": 4, "head": 1}
    assert sum(map(len, groups.values())) == len(list(draft.parameters()))


def test_the_untrained_layer_is_the_targets_last_one(target):
    """With the deepest feature that layer's input it computes what the target does, whatever the embedding."""
    draft = untrained_eagle3(target, (1, 3), KEPT, torch.float32)
    tokens = torch.arange(10).unsqueeze(0)
    step = target.step([0], 10)
    with torch.no_grad():
        deep = target.run(target.embed(tokens), 0, 3, step)
        output = draft.midlayer(
            torch.randn(1, 10, HIDDEN), draft.fuse(torch.cat((torch.randn_like(deep), deep), -1)), step
        )
        torch.testing.assert_close(draft.logits(output), target(tokens)[..., KEPT])


def test_trimming_keeps_what_both_vocabularies_have(target):
    draft = untrained_eagle3(target, (1,), KEPT, torch.float32)
    rows = draft.head.weight.clone()
    draft.trim(torch.tensor([9, 4, 5]))
    assert draft.kept_ids.tolist() == [4, 9]
    assert torch.equal(draft.head.weight, rows[[2, 3]])
    with pytest.raises(StudyError, match=r"^draft vocabulary: none of these tokens is in the drafter's own$"):
        draft.trim(torch.tensor([0]))


def test_bias_and_confidence_are_saved_counted_and_trimmed_with_the_rest(target, tmp_path):
    draft = moved_eagle3(target, (1, 3), KEPT, bias_rank=5, confidence=True)
    save_eagle3(draft, tmp_path, torch.float32)
    write_config(target, tmp_path, fc_norm=False, norm_output=False, bias_rank=5, confidence=True)
    saved = {name: tuple(t.shape) for name, t in load_file(tmp_path / "draft.safetensors").items()}
    more = {"bias.embedding.weight": (VOCAB, 5), "bias.head.weight": (len(KEPT), 5)}
    more |= {"confidence.weight": (1, HIDDEN), "confidence.bias": (1,)}
    assert more.items() <= saved.items()
    after, _ = load_eagle3(tmp_path, target)
    output, tokens = torch.randn(2, HIDDEN), torch.tensor([60, 7])
    assert torch.equal(after.logits(output, tokens), draft.logits(output, tokens))
    assert torch.equal(after.confidence.chance(output), draft.confidence.chance(output))
    plain = moved_eagle3(target, (1, 3), KEPT)
    sizes = [sum(parameter.numel() for parameter in one.parameters()) for one in (draft, plain)]
    assert sizes[0] - sizes[1] == VOCAB * 5 + len(KEPT) * 5 + HIDDEN + 1
    assert draft.step_bytes() - plain.step_bytes() == 4 * (len(KEPT) * 5 + 5 + HIDDEN)
    expected = draft.logits(output, tokens)[:, [2, 3]]
    torch.testing.assert_close(after.trim(torch.tensor([4, 9])).pack().logits(output, tokens), expected)
    write_config(target, tmp_path, fc_norm=False, norm_output=False, confidence=True)
    assert refused(tmp_path, target).endswith("unknown tensors: bias.embedding.weight, bias.head.weight")
    write_config(target, tmp_path, fc_norm=False, bias_rank="5")
    assert refused(tmp_path, target).endswith("config.json: bias_rank: found '5', a whole number ≥ 0 is right")


def test_an_untrained_bias_changes_nothing_and_can_learn(target):
    with_bias = untrained_eagle3(target, (1, 3), KEPT, torch.float32, bias_rank=5)
    without = untrained_eagle3(target, (1, 3), KEPT, torch.float32)
    output, tokens = torch.randn(2, HIDDEN), torch.tensor([60, 7])
    assert torch.equal(with_bias.logits(output, tokens), without.logits(output))
    head = with_bias.bias.head.weight.requires_grad_(True)
    with_bias.logits(output, tokens).square().sum().backward()
    assert head.grad.any()


@pytest.mark.parametrize(("layers", "expected"), [(30, (2, 15, 27)), (16, (2, 8, 13)), (4, (1, 2)), (1, (0, 1))])
def test_usual_features_are_eagle_3s_inputs(layers, expected):
    assert usual_features(layers) == expected


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([1, 5], r"^here: 5 is not a depth of the target \(0…4\)$"),
        ([-1], r"^here: -1 is not a depth of the target \(0…4\)$"),
        ([3, 1], r"^here: found \[3, 1\], ascending depths of the target are right$"),
        ([2, 2], r"^here: found \[2, 2\], ascending depths of the target are right$"),
        ([], r"^here: found \[\], ascending depths of the target are right$"),
    ],
)
def test_depths_that_cannot_be_are_refused(features, message):
    with pytest.raises(StudyError, match=message):
        check_features(features, 4, "here")


def test_a_drafter_of_another_target_is_refused(target, folder):
    message = refused(folder, tiny_llama(seed=1))
    assert message.startswith(
        f"{folder}/config.json: trained on another target: its fingerprint is {target.fingerprint}, "
    )


def test_what_is_no_drafter_is_refused(target, folder):
    write_config(target, folder, kind="medusa")
    assert refused(folder, target) == f"{folder}/config.json: kind: found 'medusa', eagle3 is right"
    (folder / "config.json").write_text("{}")
    expected = f"{folder}/config.json: kind: missing; is this a folder made by `selfdraft train-drafter`?"
    assert refused(folder, target) == expected


def test_depths_of_another_target_are_refused(target, folder):
    write_config(target, folder, features=[1, 9])
    assert refused(folder, target) == f"{folder}/config.json: features: 9 is not a depth of the target (0…4)"


def test_missing_and_unknown_tensors_are_all_named(target, folder):
    change(folder, **{"fc.weight": None, "d2t": None, "embed_tokens.weight": torch.zeros(2), "extra": torch.zeros(1)})
    path = folder / "draft.safetensors"
    assert refused(folder, target) == (
        f"{path}: missing tensors: d2t, fc.weight; unknown tensors: embed_tokens.weight, extra"
    )


def test_a_tensor_of_another_shape_is_refused(target, folder):
    change(folder, **{"fc.weight": torch.zeros(HIDDEN, 3 * HIDDEN)})
    expected = f"{folder}/draft.safetensors: fc.weight is (32, 96), the target needs (32, 64)"
    assert refused(folder, target) == expected


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([0, 3, 4, 9, 20, 61], "d2t: leads to tokens 0…61, the target has 0…60"),
        ([-1, 3, 4, 9, 20, 60], "d2t: leads to tokens -1…60, the target has 0…60"),
        ([0, 4, 3, 9, 20, 60], "d2t: the tokens that it leads to do not ascend"),
        ([0, 3, 4, 9, 20, 59], "t2d: says other tokens than d2t"),
    ],
)
def test_a_map_that_is_none_is_refused(target, folder, ids, message):
    change(folder, d2t=torch.tensor(ids) - torch.arange(6))
    assert refused(folder, target) == f"{folder}/draft.safetensors: {message}"
