"""A Hugging Face model folder -> plain weights, config and tokenizer; safetensors only, no remote code."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from selfdraft.errors import StudyError
from selfdraft.files import read_json
from selfdraft.models.config import LlamaConfig
from selfdraft.sources.hf_tokenizer import SETTINGS, read_hf_tokenizer
from selfdraft.sources.plain_model import PlainModel
from selfdraft.sources.reference import load_tokenizer, load_transformers

PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
# What a config.json may say of the machine it was saved on: a kernel that is not installed here.
KERNELS = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal", "_name_or_path")


def read_hf_folder(folder: Path) -> PlainModel:
    """Read a folder with config.json, safetensors weights, tokenizer.json and a chat template.

    Raises StudyError naming the file that is missing, broken or of a kind that is not read.
    """
    config = read_config(folder / "config.json")
    LlamaConfig.from_dict(config, f"{folder}/config.json")  # a family that is not read needs no better weights
    weights = weight_files(folder)
    tokenizer = read_hf_tokenizer(folder)
    generation_path = folder / "generation_config.json"
    generation = read_json(generation_path) if generation_path.is_file() else {}
    if not isinstance(generation, dict):
        raise StudyError(f"{generation_path}: found a {type(generation).__name__}, a JSON object is right")
    check_generation(generation, generation_path)
    for key in ("bos_token_id", "eos_token_id"):
        if generation.get(key) is None and config.get(key) is not None:
            generation[key] = config[key]
    tokenizer_files = [folder / name for name in ("tokenizer.json", *SETTINGS) if (folder / name).is_file()]
    licences = sorted(path.name for path in folder.glob("LICENSE*"))
    return PlainModel(
        config=config,
        state=read_weights(weights),
        tokenizer_json=tokenizer.tokenizer_json,
        template=tokenizer.template,
        tokenizer_config={**tokenizer.special, "tokenizer_class": "PreTrainedTokenizerFast"},
        generation_config=generation,
        stock_model=partial(load_transformers, folder),
        stock_tokenizer=partial(load_tokenizer, folder),
        notes={"license": f"see {licences[0]} of the source" if licences else "see the model card of the source"},
        files=[folder / "config.json", *tokenizer_files, *weights],
    )


def read_config(path: Path) -> dict[str, Any]:
    """config.json as this version of transformers writes it. Raises StudyError for one it cannot take."""
    if not path.is_file() and (path.parent / "adapter_config.json").is_file():
        raise StudyError(f"{path.parent}: an adapter without its model; merge it into the model and save that")
    config = read_json(path)
    if not isinstance(config, dict) or "model_type" not in config:
        raise StudyError(f"{path}: model_type: nothing found, expected a model family")
    if "auto_map" in config:
        raise StudyError(f"{path}: auto_map: the model needs code of its own, and no remote code is run")
    if config.get("quantization_config"):
        raise StudyError(f"{path}: quantization_config: expected plain weights (or a GGUF file)")
    from transformers import AutoConfig

    try:
        known = AutoConfig.from_pretrained(str(path.parent), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # its checks raise a dozen kinds
        raise unread(path, error) from None
    plain: dict[str, Any] = json.loads(known.to_json_string(use_diff=True))
    plain = {key: value for key, value in plain.items() if key not in KERNELS}
    plain["architectures"] = config.get("architectures") or plain.get("architectures")
    return plain | {"dtype": "bfloat16", "tie_word_embeddings": bool(known.tie_word_embeddings)}


def unread(path: Path, error: Exception) -> StudyError:
    """The error for a file that transformers refuses, in its own words."""
    said = " ".join(str(error).split()) or type(error).__name__
    return StudyError(f"{path}: transformers cannot read it ({said:.300})")


def check_generation(generation: dict[str, Any], path: Path) -> None:
    """Raise StudyError for a generation_config.json that transformers does not take."""
    from transformers import GenerationConfig

    try:
        GenerationConfig.from_dict(generation)
    except Exception as error:
        raise unread(path, error) from None


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder as transformers looks for them: the one file, else those its index names,
    else all. Pickled weights are refused.
    """
    index_path = folder / "model.safetensors.index.json"
    if index_path.is_file() and not (folder / "model.safetensors").is_file():
        index = read_json(index_path)
        names = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
            raise StudyError(f"{index_path}: weight_map: missing; expected {{weight: file name}}")
        files = [folder / name for name in sorted(set(names.values()))]
        if missing := [file for file in files if not file.is_file()]:
            raise StudyError(f"{missing[0]}: file not found; {index_path.name} names it")
        return files
    single = folder / "model.safetensors"
    files = [single] if single.is_file() else sorted(folder.glob("model-*-of-*.safetensors"))
    if not files:
        pickled = sorted(path.name for pattern in PICKLED for path in folder.glob(pattern))
        found = f"found {pickled[0]}, which is a pickle and never read" if pickled else "no weights found"
        raise StudyError(f"{folder}: {found}; expected model.safetensors")
    return files


def read_weights(files: list[Path]) -> dict[str, torch.Tensor]:
    """All tensors of the shards, by name. Raises StudyError naming a truncated or corrupt file."""
    state: dict[str, torch.Tensor] = {}
    for file in files:
        try:
            with safe_open(file, framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118 - safe_open is no mapping
                    state[name] = tensors.get_tensor(name)
        except (SafetensorError, OSError, ValueError) as error:
            raise StudyError(f"{file}: truncated or corrupt safetensors file ({error})") from None
    packed = [name for name, tensor in state.items() if not tensor.is_floating_point()]
    if packed:
        raise StudyError(f"{files[0].parent}: {packed[0]}: {state[packed[0]].dtype} weights; expected plain floats")
    return state
