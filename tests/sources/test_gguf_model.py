import json
from pathlib import Path
from typing import Any

import gguf as gguf_library
import pytest
import torch
from safetensors.torch import load_file

from selfdraft.errors import StudyError
from selfdraft.sources.chat import ChatTokenizer
from selfdraft.sources.gguf_model import parsed_once, read_header, shortest
from selfdraft.sources.target import build_target


@pytest.fixture(scope="module")
def gguf(real_cache: Path, default_study: dict[str, Any]) -> Path:
    source = default_study["target"]["source"]
    return real_cache / "packages" / f"{source['package']}-{source['version']}" / source["member"]


def test_the_default_target_has_its_true_settings(real_target):
    config = json.loads((real_target / "config.json").read_text())
    expected = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "num_hidden_layers": 30,
        "hidden_size": 576,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "head_dim": 64,
        "vocab_size": 49152,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-05,
        "rope_parameters": {"rope_theta": 100000.0, "rope_type": "default"},
        "tie_word_embeddings": True,
        "eos_token_id": 2,
        "dtype": "bfloat16",
    }
    assert {key: config[key] for key in expected} == expected
    assert "quantization_config" not in config
    source = json.loads((real_target / "source.json").read_text())
    assert "Q4_1" in source["quantisation"]


def test_the_conversion_loses_nothing_that_transformers_reads(real_target, gguf):
    from transformers import AutoModelForCausalLM, GgufConfig

    stock = AutoModelForCausalLM.from_pretrained(
        str(gguf.parent),
        gguf_file=gguf.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
    ).state_dict()
    state = load_file(real_target / "model.safetensors")
    assert set(stock) - set(state) == {"lm_head.weight"}
    assert set(state) <= set(stock)
    assert all(torch.equal(state[name], stock[name]) for name in state)


def test_digits_are_cut_off_as_the_model_was_trained(real_target):
    chat = ChatTokenizer.from_folder(real_target)
    tokens = [chat.tokenizer.id_to_token(token) for token in chat.encode("Tips:\n\n12 a")]
    assert tokens == ["Tips", ":", "ĊĊ", "1", "2", "Ġa"]


@pytest.mark.parametrize("size", [3, 40, 5_000, 3_000_000, 50_000_000])
def test_a_truncated_gguf_is_named(gguf, tmp_path, size):
    path = tmp_path / "cut.gguf"
    with gguf.open("rb") as file:
        path.write_bytes(file.read(size))
    with pytest.raises(StudyError, match=r"cut\.gguf: (truncated or corrupt|not a) GGUF file") as caught:
        build_target("cut", {"kind": "path", "path": str(path)}, tmp_path / "out", tmp_path)
    assert "\n" not in str(caught.value)


def test_what_is_no_gguf_is_named(tmp_path):
    path = tmp_path / "a.gguf"
    path.write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(StudyError, match=r"a\.gguf: not a GGUF file"):
        read_header(path)
    other = tmp_path / "model.bin"
    other.write_bytes(b"")
    with pytest.raises(StudyError, match=r"model\.bin: expected one \.gguf file, or a folder"):
        build_target("a", {"kind": "path", "path": str(other)}, tmp_path / "out", tmp_path)


def test_floats_get_their_short_form_back():
    assert shortest(9.999999747378752e-06) == 1e-05
    assert shortest(100000.0) == 100000.0
    assert (shortest(0.1), shortest(7), shortest("a")) == (0.1, 7, "a")


def test_a_file_is_parsed_once_for_all_who_read_it_and_anew_by_the_next(tmp_path):
    path = tmp_path / "small.gguf"
    writer = gguf_library.GGUFWriter(path, "llama")
    writer.add_name("small")
    for write in (
        writer.write_header_to_file,
        writer.write_kv_data_to_file,
        writer.write_tensors_to_file,
        writer.close,
    ):
        write()
    theirs = gguf_library.GGUFReader
    with parsed_once():
        first = gguf_library.GGUFReader(str(path))
        assert read_header(path)["name"] == "small"
        assert gguf_library.GGUFReader(path) is first
    with parsed_once():
        assert gguf_library.GGUFReader(path) is not first
    assert gguf_library.GGUFReader is theirs
