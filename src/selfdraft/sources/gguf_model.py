"""A GGUF file -> plain weights, config and tokenizer, through transformers' own reader."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import torch

from selfdraft.errors import StudyError
from selfdraft.sources.plain_model import PlainModel, check_single_template
from selfdraft.sources.reference import quiet_transformers

# The GGUF names its text splitter (`tokenizer.ggml.pre`); transformers 5 reads every byte-level one as
# plain GPT-2. SmolLM's cuts digits off first, so that "\n\n1" is "\n\n", "1" and not "\n", "\n", "1".
PRE_TOKENIZERS: dict[str, dict[str, Any]] = {
    "smollm": {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Digits", "individual_digits": True},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        ],
    }
}


def read_gguf(path: Path) -> PlainModel:
    """Read and dequantise a GGUF file. Raises StudyError naming it if it is truncated or corrupt."""
    with parsed_once():
        return _read(path)


@contextmanager
def parsed_once() -> Iterator[None]:
    """Within it each file's fields are parsed once: transformers asks for them for config, weights and tokenizer, and
    parsing a vocabulary takes longer than bringing back the weights of a small model."""
    import gguf

    library: Any = gguf
    parse, parsed = library.GGUFReader, dict[str, Any]()

    def reader(path: Any) -> Any:
        if str(path) not in parsed:
            parsed[str(path)] = parse(path)
        return parsed[str(path)]

    library.GGUFReader = reader
    try:
        yield
    finally:
        library.GGUFReader = parse


def _read(path: Path) -> PlainModel:
    header = read_header(path)
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    quiet_transformers()
    folder, file = str(path.parent), path.name
    try:
        with redirect_stderr(io.StringIO()):  # its GGUF reader's progress bar has no switch
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                gguf_file=file,
                quantization_config=GgufConfig(dequantize=True),
                dtype=torch.bfloat16,
                local_files_only=True,
                output_loading_info=True,
            )
            tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file, local_files_only=True)
    except (ValueError, KeyError, OSError, RuntimeError, NotImplementedError) as error:
        raise StudyError(f"{path}: transformers cannot read it ({str(error).splitlines()[0]})") from None
    model, report = loaded
    if report["missing_keys"] or report["mismatched_keys"]:
        missing = sorted(map(str, {*report["missing_keys"], *report["mismatched_keys"]}))
        raise StudyError(f"{path}: {missing[0]}: weights not found or of another shape")
    template = check_single_template(tokenizer.chat_template, path)
    special = {name: str(text) for name, text in tokenizer.special_tokens_map.items()}
    return PlainModel(
        config=plain_config(model),
        state=dict(model.state_dict()),
        tokenizer_json=with_pre_tokenizer(tokenizer.backend_tokenizer.to_str(), header.get("pre")),
        template=template,
        tokenizer_config={**special, "tokenizer_class": "PreTrainedTokenizerFast"},
        generation_config={
            key: value
            for key in ("bos_token_id", "eos_token_id", "pad_token_id")
            if (value := getattr(model.generation_config, key, None)) is not None
        },
        stock_model=lambda: model.eval(),
        notes={
            "model": header["name"],
            "license": header["license"],
            "quantisation": f"GGUF: {header['quantisation']}; brought back to bf16, not the original weights",
            "text_splitter": header["pre"],
        },
        files=[path],
    )


def read_header(path: Path) -> dict[str, Any]:
    """Name, licence, text splitter and tensor types of a GGUF file, after checking that it is whole."""
    from gguf import GGUFReader

    if path.open("rb").read(4) != b"GGUF":
        raise StudyError(f"{path}: not a GGUF file: it does not begin with GGUF")
    try:
        reader = GGUFReader(path)
    except Exception as error:  # a broken file ends in any of a dozen exceptions
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StudyError(f"{path}: truncated or corrupt GGUF file ({said})") from None

    def text(key: str, otherwise: str) -> str:
        found = reader.get_field(key)
        return str(found.contents()) if found else otherwise

    types: dict[str, int] = {}
    for tensor in reader.tensors:
        types[tensor.tensor_type.name] = types.get(tensor.tensor_type.name, 0) + 1
    return {
        "name": text("general.name", path.stem),
        "license": text("general.license", "not stated in the file"),
        "pre": text("tokenizer.ggml.pre", ""),
        "quantisation": ", ".join(f"{types[name]} × {name}" for name in sorted(types)),
    }


def plain_config(model: Any) -> dict[str, Any]:
    """config.json as transformers would write it for the same weights in bf16, unquantised.

    Floats that the GGUF keeps in 32 bits (the norms' epsilon) get their short form back: 1e-05, not
    9.999999747378752e-06, the same number in float32.
    """
    config: dict[str, Any] = json.loads(model.config.to_json_string(use_diff=True))
    dropped = ("_name_or_path", "_model_name_or_path", "quantization_config", "unk_token_id")
    config = {key: shortest(value) for key, value in config.items() if key not in dropped}
    config["rope_parameters"] = {key: shortest(value) for key, value in config["rope_parameters"].items()}
    return config | {
        "architectures": [type(model).__name__],
        "dtype": "bfloat16",
        "tie_word_embeddings": bool(model.config.tie_word_embeddings),
    }


def shortest(value: Any) -> Any:
    """A float that came from 32 bits, as the shortest decimal that gives the same 32 bits."""
    if isinstance(value, float) and float(np.float32(value)) == value:
        return float(str(np.float32(value)))
    return value


def with_pre_tokenizer(tokenizer_json: str, pre: str | None) -> str:
    """tokenizer.json with the text splitter that the GGUF names, where transformers dropped it."""
    if pre not in PRE_TOKENIZERS:
        return tokenizer_json
    tokenizer = json.loads(tokenizer_json)
    tokenizer["pre_tokenizer"] = PRE_TOKENIZERS[pre]
    return json.dumps(tokenizer, indent=2, ensure_ascii=False)
