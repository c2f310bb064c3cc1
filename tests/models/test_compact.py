"""Compact drafters: rounding that is bounded by row, numbers that come back exactly, and what is refused."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_llama import moved_eagle3, tiny_llama

from selfdraft.decoding.loop import speculate
from selfdraft.decoding.policy import Policy
from selfdraft.drafters.eagle3 import Eagle3Drafter
from selfdraft.errors import StudyError
from selfdraft.models.compact import compacted, restored, save_compact
from selfdraft.models.eagle3 import load_eagle3, save_eagle3, shapes
from selfdraft.models.exit import target_identity

KEPT = torch.tensor([0, 3, 4, 9, 20, 60])
CONFIG = {"kind": "eagle3", "drafter": "tiny", "features": [1, 3], "fc_norm": True, "norm_output": False}


@pytest.fixture(scope="module")
def target():
    return tiny_llama()


@pytest.fixture(scope="module")
def draft(target):
    return moved_eagle3(target, (1, 3), KEPT, fc_norm=True)


@pytest.fixture
def folder(target, draft, tmp_path):
    save_compact(draft.named_tensors(), CONFIG | {"target": target_identity(target)}, tmp_path)
    return tmp_path


def retensor(folder, **tensors):
    path = folder / "draft.safetensors"
    found = load_file(path) | tensors
    save_file({name: tensor for name, tensor in found.items() if tensor is not None}, path)


def test_no_weight_moves_by_more_than_half_a_step_of_its_row(tmp_path):
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(50, 40, generator=generator) * torch.logspace(-40, 6, 50)[:, None]
    weight[7] = 0.0
    stored = compacted({"a": weight, "norm": weight[9]})
    after = restored(tmp_path / "draft.safetensors", stored, "int8 rows")
    error = (after["a"] - weight).abs().amax(1)
    largest = weight.abs().amax(1)
    usual = largest > 1e-30  # below, float32 itself has too few digits for a step
    assert (error <= largest / 254 * 1.0001)[usual].all()
    assert (error > largest / 1000)[usual].any()  # something was rounded
    assert (error <= largest).all()
    assert not after["a"][7].any()
    assert torch.equal(after["norm"], weight[9])


def test_a_compact_drafter_has_exactly_the_stored_numbers(target, draft, folder):
    stored = load_file(folder / "draft.safetensors")
    loaded, config = load_eagle3(folder, target)
    assert config["weights"] == "int8 rows"
    for name, tensor in loaded.named_tensors().items():
        if f"{name}.scale" in stored:
            assert stored[name].dtype == torch.int8
            assert stored[f"{name}.scale"].dtype == torch.float32
            assert torch.equal(tensor, stored[name].float() * stored[f"{name}.scale"][:, None])
        else:
            assert torch.equal(tensor, draft.named_tensors()[name]), name
    matrices = [name for name, tensor in draft.named_tensors().items() if tensor.ndim == 2]
    assert {f"{name}.scale" for name in matrices} == {name for name in stored if name.endswith(".scale")}
    again = folder / "again"
    again.mkdir()
    save_compact(loaded.named_tensors(), config, again)
    twice, _ = load_eagle3(again, target)
    for name, tensor in twice.named_tensors().items():
        torch.testing.assert_close(tensor, loaded.named_tensors()[name], rtol=1e-6, atol=0)


def test_it_accepts_nearly_the_same(target, draft, folder):
    loaded, _ = load_eagle3(folder, target)
    prompts = [[1, 2, 3], [9, 20, 4], [30, 31, 7], [5, 60, 59]]
    accepted = []
    for model in (draft, loaded):
        total = 0
        for prompt in prompts:
            drafter = Eagle3Drafter(target, model)
            run = speculate(target, drafter, [prompt], Policy("greedy"), 3, 60, torch.Generator())
            total += sum(cycle.accepted for cycle in run.cycles)
        accepted.append(total)
    assert accepted[0] > 0
    assert abs(accepted[1] - accepted[0]) <= 0.1 * accepted[0] + 2


def test_a_drafter_of_the_usual_size_takes_a_byte_a_parameter(tmp_path):
    from selfdraft.models.config import LlamaConfig

    sizes = {"model_type": "llama", "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536}
    sizes |= {"num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3}
    wanted = shapes(LlamaConfig.from_dict(sizes | {"max_position_embeddings": 8192}), 3, 8192, True)
    tensors = {name: torch.ones(shape, dtype=torch.bfloat16) for name, shape in wanted.items()}
    tensors |= {"d2t": torch.zeros(8192, dtype=torch.int64), "t2d": torch.zeros(49152, dtype=torch.bool)}
    parameters = sum(tensor.numel() for tensor in tensors.values() if tensor.is_floating_point())
    assert 9.5e6 < parameters < 10.5e6
    written = save_compact(tensors, CONFIG, tmp_path)
    size = (tmp_path / "draft.safetensors").stat().st_size
    assert size < 1.05 * parameters < 12e6
    assert parameters <= written["trained_bytes"] <= size


@pytest.mark.parametrize(
    ("tensors", "weights", "message"),
    [
        ({}, "int4", "config.json: weights: found 'int4', 'int8 rows' is what is known"),
        ({"fc.weight.scale": None}, "int8 rows", "fc.weight: int8 without the tensor fc.weight.scale"),
        ({"fc.weight": None}, "int8 rows", "fc.weight.scale: there is no matrix fc.weight"),
        ({"fc.weight.scale": torch.ones(3)}, "int8 rows", "with a scale of (3,), int8 [rows, columns] with one of"),
        ({"fc.weight": torch.ones(32, 64)}, "int8 rows", "fc.weight: torch.float32 (32, 64) with a scale of (32,)"),
        ({}, None, "unknown tensors: fc.weight.scale, lm_head.weight.scale"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(target, folder, tensors, weights, message):
    retensor(folder, **tensors)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"weights": weights}))
    with pytest.raises(StudyError) as error:
        load_eagle3(folder, target)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_numbers_that_are_none_are_refused():
    with pytest.raises(StudyError, match=r"fc\.weight: has weights that are NaN or infinite"):
        compacted({"fc.weight": torch.full((2, 2), float("nan"))})


def test_the_command_makes_one_of_a_trained_drafter_and_raw_of_that_again(tmp_path, capsys):
    from tiny import tiny_target

    from selfdraft.cli import main
    from selfdraft.models.llama import load_target

    tiny_target(tmp_path / "target")
    real = load_target(tmp_path / "target", torch.bfloat16)
    made = moved_eagle3(real, (1, 2), torch.tensor([1, 5, 8, 90]))
    (tmp_path / "whole").mkdir()
    save_eagle3(made, tmp_path / "whole")
    told = CONFIG | {"features": [1, 2], "fc_norm": False, "target": target_identity(real)}
    (tmp_path / "whole/config.json").write_text(json.dumps(told))
    words = ["export-drafter", "--target", tmp_path / "target", "--drafter", tmp_path / "whole"]
    assert main([*map(str, [*words, "--form", "compact", "--out-dir", tmp_path / "small"])]) == 0
    assert "compact, 0.1 MB, matrices rounded to int8" in capsys.readouterr().out
    config = json.loads((tmp_path / "small/config.json").read_text())
    assert config == told | {"weights": "int8 rows", "trained_bytes": config["trained_bytes"]}
    norms = [load_file(tmp_path / name / "draft.safetensors")["norm.weight"] for name in ("whole", "small")]
    assert norms[0].dtype == norms[1].dtype == torch.bfloat16
    assert torch.equal(*norms)
    words[4] = tmp_path / "small"
    assert main([*map(str, [*words, "--form", "raw", "--out-dir", tmp_path / "raw"])]) == 0
    raw = load_file(tmp_path / "raw/model.safetensors")["fc.weight"]
    small = load_file(tmp_path / "small/draft.safetensors")
    assert torch.equal(raw, small["fc.weight"].float() * small["fc.weight.scale"][:, None])
    words[4] = tmp_path / "target"
    assert main([*map(str, [*words, "--form", "compact", "--out-dir", tmp_path / "no"])]) == 2
    assert "draft.safetensors: file not found" in capsys.readouterr().err
