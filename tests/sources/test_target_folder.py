import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import tiny_target

from selfdraft.cli import main
from selfdraft.errors import StudyError
from selfdraft.sources.reference import load_transformers
from selfdraft.sources.target import build_target

FILES = {
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "chat_template.jinja",
    "tokenizer_config.json",
    "generation_config.json",
    "source.json",
}


def build(source: Path, out: Path, layers: tuple[int, ...] = ()) -> dict:
    return build_target("tiny", {"kind": "path", "path": str(source)}, out, out.parent / "cache", layers)


@pytest.fixture
def stock(tmp_path: Path) -> Path:
    """A folder as a hub model looks, with an untied head."""
    return tiny_target(tmp_path / "stock", tie_word_embeddings=False)


def test_a_target_holds_these_files_and_the_same_weights(stock, tmp_path):
    build(stock, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    before, after = load_file(stock / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    source = json.loads((tmp_path / "out" / "source.json").read_text())
    weights = hashlib.sha256((stock / "model.safetensors").read_bytes()).hexdigest()
    assert source["sha256"]["model.safetensors"] == weights
    assert (source["kind"], source["name"]) == ("path", "tiny")


@pytest.mark.parametrize("family", ["Llama", "Mistral", "Qwen2", "Qwen3"])
@pytest.mark.parametrize("tied", [True, False])
def test_models_saved_by_transformers_keep_their_logits(stock, tmp_path, family, tied):
    import transformers

    config = getattr(transformers, f"{family}Config")(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        tie_word_embeddings=tied,
        rope_parameters={"rope_type": "default", "rope_theta": 54321.0},
        bos_token_id=1,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{family}ForCausalLM")(config).to(torch.bfloat16)
    model.save_pretrained(stock, max_shard_size="60KB")
    (stock / "model.safetensors").unlink()
    assert len(list(stock.glob("model-*.safetensors"))) > 1
    plain = build(stock, tmp_path / "out")
    assert plain["rope_parameters"]["rope_theta"] == 54321.0
    assert plain["architectures"] == [f"{family}ForCausalLM"]
    state = load_file(tmp_path / "out" / "model.safetensors")
    assert ("lm_head.weight" in state) is not tied
    assert {tensor.dtype for tensor in state.values()} == {torch.bfloat16}
    tokens = torch.arange(20)[None]
    with torch.no_grad():
        expected = load_transformers(stock, torch.float32)(tokens).logits
        assert torch.equal(load_transformers(tmp_path / "out", torch.float32)(tokens).logits, expected)


def test_a_tied_model_keeps_no_head_of_its_own(tmp_path):
    stock = tiny_target(tmp_path / "stock")
    state = load_file(stock / "model.safetensors")
    save_file({**state, "lm_head.weight": state["model.embed_tokens.weight"].clone()}, stock / "model.safetensors")
    build(stock, tmp_path / "out")
    assert load_file(tmp_path / "out" / "model.safetensors").keys() == state.keys()


def test_a_layer_outside_the_model_is_refused_and_nothing_written(stock, tmp_path):
    with pytest.raises(StudyError, match=r"^sweeps: layer 4 is not a layer of the target \(0…3\)$"):
        build(stock, tmp_path / "out", layers=(0, 4))
    assert not (tmp_path / "out").exists()


def test_pickled_weights_are_refused_by_name(stock, tmp_path):
    (stock / "model.safetensors").rename(stock / "pytorch_model.bin")
    with pytest.raises(StudyError, match=r"pytorch_model\.bin, which is a pickle and never read; expected model\.saf"):
        build(stock, tmp_path / "out")


@pytest.mark.parametrize("size", [0, 5, 500, 60_000])
def test_a_truncated_model_file_is_named(stock, tmp_path, size):
    path = stock / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(StudyError, match=r"model\.safetensors: truncated or corrupt") as caught:
        build(stock, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_weights_must_be_those_of_the_config(stock, tmp_path):
    path = stock / "model.safetensors"
    state = load_file(path)
    norm = state.pop("model.norm.weight")
    for change, said in (
        ({}, "model.norm.weight: weights not found"),
        ({"model.norm.weight": norm[:5].clone()}, r"model.norm.weight: shape is \(5,\), expected \(64,\)"),
        ({"model.norm.weight": norm, "model.extra": norm.clone()}, "model.extra: weights that a plain llama"),
        ({"model.norm.weight": norm.to(torch.int8)}, "model.norm.weight: torch.int8 weights; expected plain floats"),
    ):
        save_file({**state, **change}, path)
        with pytest.raises(StudyError, match=said):
            build(stock, tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"auto_map": {"AutoModel": "code.Model"}}, "auto_map: .*no remote code is run"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantization_config: expected plain weights"),
        ({"model_type": "gpt2"}, "model_type: 'gpt2' is not supported; one of llama, mistral, qwen2, qwen3 is"),
        ({"model_type": None}, "transformers cannot read it|model_type"),
    ],
)
def test_a_config_that_is_not_taken_names_the_key(stock, tmp_path, change, said):
    path = stock / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(StudyError, match=said):
        build(stock, tmp_path / "out")


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("config.json", "config.json: file not found"),
        ("tokenizer.json", "tokenizer.json: file not found"),
        ("chat_template.jinja", "the tokenizer has no chat template"),
        ("model.safetensors", "no weights found; expected model.safetensors"),
    ],
)
def test_a_missing_file_is_named(stock, tmp_path, file, said):
    (stock / file).unlink()
    with pytest.raises(StudyError, match=said):
        build(stock, tmp_path / "out")


def test_a_template_inside_the_tokenizer_config_is_taken(stock, tmp_path):
    (stock / "chat_template.jinja").unlink()
    settings = {
        "chat_template": [{"name": "default", "template": "hello"}],
        "eos_token": {"__type": "AddedToken", "content": "<|im_end|>"},
    }
    (stock / "tokenizer_config.json").write_text(json.dumps(settings))
    build(stock, tmp_path / "out")
    assert (tmp_path / "out" / "chat_template.jinja").read_text() == "hello"
    assert json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())["eos_token"] == "<|im_end|>"


def test_the_command_says_one_line_on_a_mistake(stock, tmp_path, capsys):
    source = json.dumps({"kind": "path", "path": str(stock)})
    options = ["target", "--name", "tiny", "--source", source, "--out-dir", str(tmp_path / "out")]
    assert main([*options, "--layers", "0", "3"]) == 0
    assert "tiny: llama, 4 layers" in capsys.readouterr().out
    assert main([*options, "--layers", "9"]) == 2
    assert capsys.readouterr().err == ("selfdraft target: error: sweeps: layer 9 is not a layer of the target (0…3)\n")
