"""A model from anywhere -> one plain folder that every later stage reads without transformers."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from selfdraft.errors import StudyError
from selfdraft.files import saving_tensors, whole_folder
from selfdraft.sources.fetch import fetch, sums_of

MODEL_FILES = [
    "config.json",
    "generation_config.json",
    "*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "LICENSE*",
]
FAMILIES = ("llama", "mistral", "qwen2", "qwen3")


@dataclass
class PlainModel:
    """What a target folder holds, before it is written."""

    config: dict[str, Any]
    state: dict[str, torch.Tensor]
    tokenizer_json: str
    template: str
    tokenizer_config: dict[str, Any]
    generation_config: dict[str, Any]
    notes: dict[str, Any] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)


def build_target(
    name: str,
    source: Mapping[str, Any],
    out_dir: str | Path,
    cache_dir: str | Path,
    layers: Sequence[int] = (),
) -> dict[str, Any]:
    """Write the folder `out_dir`: config, bf16 weights, tokenizer, template, and where they came from.

    `layers` are the exit layers a study asks for. Returns config.json's content. Raises StudyError for
    a layer outside the model, an unreadable source, a model that is no chat model or not of a known
    family; then nothing is written.
    """
    fetched = fetch(source, cache_dir, "model", MODEL_FILES)
    model = read_model(fetched.path, source.get("files"))
    check_layers(layers, model.config["num_hidden_layers"])
    origin = {
        "kind": source["kind"],
        "name": name,
        **{key: value for key, value in fetched.origin.items() if key not in ("kind", "sha256")},
        "sha256": sums_of(model.files),
        **model.notes,
        "converted_with": {package: version(package) for package in ("torch", "transformers", "safetensors")},
    }
    with whole_folder(out_dir, FILES) as folder:
        with saving_tensors(folder / "model.safetensors"):
            save_file(model.state, folder / "model.safetensors", metadata={"format": "pt"})
        (folder / "model.safetensors").chmod(0o644)
        (folder / "tokenizer.json").write_text(model.tokenizer_json, encoding="utf-8")
        (folder / "chat_template.jinja").write_text(model.template, encoding="utf-8")
        for file, value in (
            ("config.json", model.config),
            ("tokenizer_config.json", model.tokenizer_config),
            ("generation_config.json", model.generation_config),
            ("source.json", origin),
        ):
            text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
            (folder / file).write_text(text, encoding="utf-8")
    return model.config


# What `selfdraft target` writes.
FILES = (
    *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
    *("chat_template.jinja", "generation_config.json", "source.json"),
)


def read_model(path: Path, files: Sequence[str] | None) -> PlainModel:
    """Read a GGUF file, or a Hugging Face folder, or the one GGUF file of a folder that `files` names."""
    from selfdraft.sources.gguf_model import read_gguf
    from selfdraft.sources.hf_folder import read_hf_folder

    named = [path / name for name in files or () if name.endswith(".gguf")] if path.is_dir() else [path]
    if named:
        if len(named) > 1 or named[0].suffix != ".gguf":
            raise StudyError(f"{named[-1]}: expected one .gguf file, or a folder with config.json and *.safetensors")
        if not named[0].is_file():
            raise StudyError(f"{named[0]}: file not found")
        model = read_gguf(named[0])
    else:
        model = read_hf_folder(path)
    return checked(model, path)


def checked(model: PlainModel, path: Path) -> PlainModel:
    """`model` with bf16 weights and no head of its own if it is tied; StudyError if it is not whole.

    The state dict must have exactly the names and shapes of transformers' class for the config.
    """
    family = model.config.get("model_type")
    if family not in FAMILIES:
        raise StudyError(f"{path}: model_type is {family!r}, expected one of {', '.join(FAMILIES)}")
    expected = expected_shapes(model.config)
    if model.config["tie_word_embeddings"]:
        model.state.pop("lm_head.weight", None)
    model.state = {
        name: tensor.to(torch.bfloat16).contiguous()
        for name, tensor in sorted(model.state.items())
        if not name.endswith("rotary_emb.inv_freq")
    }
    for name, shape in expected.items():
        if name not in model.state:
            raise StudyError(f"{path}: {name}: weights not found")
        if tuple(model.state[name].shape) != shape:
            raise StudyError(f"{path}: {name}: shape is {tuple(model.state[name].shape)}, expected {shape}")
    if extra := sorted(set(model.state) - set(expected)):
        raise StudyError(f"{path}: {extra[0]}: weights that a plain {family} model does not have")
    vocabulary = len(json.loads(model.tokenizer_json)["model"]["vocab"])
    if vocabulary > model.config["vocab_size"]:
        raise StudyError(f"{path}: tokenizer.json has {vocabulary} tokens, the model only {model.config['vocab_size']}")
    return model


def expected_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Parameter name -> shape of transformers' own model class for `config`; nothing is allocated."""
    from transformers import AutoConfig, AutoModelForCausalLM

    settings = {key: value for key, value in config.items() if key != "model_type"}
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(config["model_type"], **settings))
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if config["tie_word_embeddings"]:
        shapes.pop("lm_head.weight", None)
    return shapes


def check_layers(layers: Sequence[int], n_layers: int) -> None:
    """Raise StudyError for an exit layer that the target does not have."""
    for layer in layers:
        if not 0 <= layer < n_layers:
            raise StudyError(f"sweeps: layer {layer} is not a layer of the target (0…{n_layers - 1})")


def check_single_template(template: Any, where: Path) -> str:
    """The chat template out of what a tokenizer config may hold: text, or a list of named templates."""
    if isinstance(template, list):
        named = {entry["name"]: entry["template"] for entry in template}
        template = named.get("default", next(iter(named.values()), None))
    if not isinstance(template, str) or not re.search(r"\S", template):
        raise StudyError(f"{where}: the tokenizer has no chat template; the study needs a chat (instruct) model")
    return template
