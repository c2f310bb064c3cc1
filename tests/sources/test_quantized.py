"""A target of 4-bit weights: which numbers they are, that transformers has the same, and what is said without them."""

import csv
import json
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from tiny import tiny_conversations, tiny_target

from selfdraft.cli import main
from selfdraft.errors import StudyError
from selfdraft.evaluation.number_format import number_format
from selfdraft.models.runtime import start
from selfdraft.sources.quantized import BLOCK, there_and_back
from selfdraft.sources.reference import load_transformers

# The 16 levels of normal float 4 (Dettmers et al. 2023, appendix E).
LEVELS = torch.tensor(
    [
        *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
        *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
        *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
        *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
    ]
)


@pytest.fixture(scope="module")
def library():
    return pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed: pip install '.[quantized]'")


@pytest.fixture(scope="module")
def targets(library, tmp_path_factory):
    """A folder with a tiny model as it comes, and its target in 4 bits."""
    folder = tmp_path_factory.mktemp("quantised")
    tiny_target(folder / "stock")
    assert main(making(folder / "stock", folder / "target", "--quantization", "4bit")) == 0
    return folder


def making(source, out, *more):
    stated = json.dumps({"kind": "path", "path": str(source)})
    return ["target", "--name", "tiny", "--source", stated, "--out-dir", str(out), *more]


def by_hand(weight):
    """The nearest level of each number, in blocks of 64 by their largest one."""
    blocks = weight.float().reshape(-1, BLOCK)
    scales = blocks.abs().amax(dim=1, keepdim=True)
    nearest = (blocks.div(scales).unsqueeze(-1) - LEVELS).abs().argmin(dim=-1)
    return (LEVELS[nearest] * scales).reshape(weight.shape)


def test_the_matrices_of_the_layers_are_the_nearest_nf4_weights_and_all_else_is_as_it_was(targets):
    before, after = (load_file(targets / name / "model.safetensors") for name in ("stock", "target"))
    assert before.keys() == after.keys()
    matrices = [name for name in before if "_proj." in name]
    assert len(matrices) == 7 * 4
    for name, weight in before.items():
        if name not in matrices:
            assert torch.equal(after[name], weight), name
            continue
        assert after[name].dtype == torch.bfloat16
        assert not torch.equal(after[name], weight)
        assert torch.allclose(after[name].float(), by_hand(weight), rtol=0.01, atol=0), name  # bfloat16 has 8 bits
    said = json.loads((targets / "target" / "source.json").read_text())["quantization"]
    assert (said["weights"], said["block_size"], said["matrices"], said["held_as"]) == ("nf4", 64, 28, "bfloat16")


def test_transformers_reads_the_same_weights_and_a_4_bit_layer_would_multiply_with_them(targets, library):
    ours = start(targets / "target", "float32", "cpu", 1)
    tokens = torch.arange(1, 30)[None]
    with torch.inference_mode():
        theirs = load_transformers(targets / "target", torch.float32)(tokens).logits
        assert torch.allclose(ours(tokens), theirs, atol=1e-4)
        assert not torch.allclose(load_transformers(targets / "stock", torch.float32)(tokens).logits, theirs, atol=1e-2)
    weight = load_file(targets / "stock" / "model.safetensors")["model.layers.0.mlp.up_proj.weight"]
    layer = library.nn.Linear4bit(
        weight.shape[1], weight.shape[0], bias=False, compute_dtype=torch.float32, quant_type="nf4"
    )
    layer.weight = library.nn.Params4bit(weight.float(), requires_grad=False, quant_type="nf4")
    x = torch.randn(3, weight.shape[1], generator=torch.Generator().manual_seed(0))
    kept = there_and_back(library, weight, "nf4").float()
    assert torch.allclose(layer.to("cpu")(x), x @ kept.T, rtol=0.02, atol=0.02 * float((x @ kept.T).abs().max()))


def test_every_table_says_so_and_drafts_are_lossless_against_the_quantised_target(targets):
    ours, plain = (start(targets / name, "float32", "cpu", 1) for name in ("target", "stock"))
    assert (number_format(ours), number_format(plain)) == ("float32+nf4", "float32")
    assert ours.fingerprint != plain.fingerprint
    conversations = tiny_conversations(targets / "conversations.json")
    source = json.dumps({"kind": "path", "path": str(conversations)})
    settings = {"english_only": False, "held_out_fraction": 0.4, "splits": ["held_out"], "prompts": 2}
    settings |= {"prompt_length": [8, 64], "sequence_length": 64, "held_out_tokens": 100}
    words = ["data", "--name", "tiny", "--source", source, "--settings", json.dumps(settings)]
    where = ["--target", str(targets / "target")]
    assert main([*words, *where, "--out-dir", str(targets / "data"), "--cache-dir", str(targets / "cache")]) == 0
    words = ["acceptance", *where, "--data", str(targets / "data"), "--points", '{"greedy": [["lookup", 2]]}']
    words += ["--policies", '{"greedy": {"temperature": 0.0}}', "--drafters", '{"lookup": {"kind": "lookup"}}']
    words += ["--settings", '{"dtype": "float32", "max_new_tokens": 6}']
    assert main([*words, "--out", str(targets / "acceptance.csv")]) == 0
    rows = list(csv.DictReader((targets / "acceptance.csv").open()))
    assert {(row["dtype"], row["identical"]) for row in rows} == {("float32+nf4", "1")}
    words = ["results", "--acceptance", str(targets / "acceptance.csv"), "--settings", '{"resamples": 9}']
    assert main([*words, "--out", str(targets / "results.csv")]) == 0
    rows = list(csv.DictReader((targets / "results.csv").open()))
    assert {row["lossless_against"] for row in rows} == {"base (nf4 weights)"}


def test_without_the_package_or_its_code_for_this_processor_there_is_one_line_and_no_folder(
    tmp_path, monkeypatch, capsys
):
    tiny_target(tmp_path / "stock")
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    assert main(making(tmp_path / "stock", tmp_path / "out", "--quantization", "4bit")) == 2
    said = capsys.readouterr().err
    assert "target.quantization: 4bit needs the package bitsandbytes (" in said
    assert "`pip install 'selfdraft[quantized]'` brings it" in said
    assert main(making(tmp_path / "stock", tmp_path / "out", "--quantization", "2bit")) == 2
    assert "target.quantization: '2bit' is unknown; 4bit is right" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

    def quantize_4bit(*_, **__):
        raise NotImplementedError("Could not run 'bitsandbytes::quantize_4bit'\nwith a long list of backends")

    broken = SimpleNamespace(__version__="0.0", functional=SimpleNamespace(quantize_4bit=quantize_4bit))
    with pytest.raises(
        StudyError, match=r"^target.quantization: bitsandbytes 0.0 makes no nf4 weights on this proc"
    ) as e:
        there_and_back(broken, torch.zeros(64, 64), "nf4")
    assert "\n" not in str(e.value)
