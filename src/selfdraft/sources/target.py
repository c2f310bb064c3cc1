"""A model from anywhere -> one plain folder that every later stage reads without transformers."""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from selfdraft.errors import StudyError
from selfdraft.files import saving_tensors, whole_folder
from selfdraft.models.config import LlamaConfig
from selfdraft.sources.fetch import fetch, sums_of
from selfdraft.sources.gguf_model import read_gguf
from selfdraft.sources.hf_folder import read_hf_folder
from selfdraft.sources.likeness import check_likeness
from selfdraft.sources.plain_model import PlainModel
from selfdraft.sources.quantized import quantize
from selfdraft.sources.readable import readable_name

MODEL_FILES = [
    "config.json",
    "generation_config.json",
    "*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "LICENSE*",
]


def build_target(
    name: str,
    source: Mapping[str, Any],
    out_dir: str | Path,
    cache_dir: str | Path,
    layers: Sequence[int] = (),
    quantization: str | None = None,
) -> dict[str, Any]:
    """Write the folder `out_dir`: config, bf16 weights, tokenizer, template, and where they came from.

    `layers` are the exit layers a study asks for; `quantization` (`4bit`) what the layers' matrices go through before
    they are written, see `quantized`. Returns config.json's content. Raises StudyError for
    a layer outside the model, an unreadable source, a model that is no chat model or not of a known
    family, and one whose logits or token ids here are not transformers'; then nothing is written.
    """
    refuse_unreadable(Path(out_dir))
    fetched = fetch(source, cache_dir, "model", MODEL_FILES)
    model = read_model(fetched.path, source.get("files"))
    check_layers(layers, model.config["num_hidden_layers"])
    if quantization is not None:
        quantize(model, quantization)
    origin = {
        "kind": source["kind"],
        "name": name,
        **{key: value for key, value in fetched.origin.items() if key not in ("kind", "sha256")},
        "sha256": sums_of(model.files),
        **model.notes,
        "converted_with": {package: version(package) for package in ("torch", "transformers", "safetensors")},
    }
    with whole_folder(out_dir, FILES) as folder:
        write_model(folder, model)
        origin["compared_with_transformers"] = check_likeness(folder, model, fetched.path)
        (folder / "source.json").write_text(json_text(origin), encoding="utf-8")
    return model.config


def write_model(folder: Path, model: PlainModel) -> None:
    """Write all files but source.json."""
    with saving_tensors(folder / "model.safetensors"):
        about = {"format": "pt"} | ({"weights": model.weights} if model.weights else {})
        save_file(model.state, folder / "model.safetensors", metadata=about)
    (folder / "model.safetensors").chmod(0o644)
    write_settings(folder, model)


def write_settings(folder: Path, model: PlainModel) -> None:
    """Write the small files beside the weights: tokenizer, template and settings."""
    (folder / "tokenizer.json").write_text(model.tokenizer_json, encoding="utf-8")
    (folder / "chat_template.jinja").write_text(model.template, encoding="utf-8")
    for file, value in (
        ("config.json", model.config),
        ("tokenizer_config.json", model.tokenizer_config),
        ("generation_config.json", model.generation_config),
    ):
        (folder / file).write_text(json_text(value), encoding="utf-8")


def json_text(value: Any) -> str:
    """Indented JSON with a final newline."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


# What `selfdraft target` writes.
FILES = (
    *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
    *("chat_template.jinja", "generation_config.json", "source.json"),
)


def read_model(path: Path, files: Sequence[str] | None) -> PlainModel:
    """Read a GGUF file, or a Hugging Face folder, or the one GGUF file of a folder that `files` names."""
    refuse_unreadable(path)
    named = [path / name for name in files or () if name.endswith(".gguf")] if path.is_dir() else [path]
    if not named and not (path / "config.json").is_file():
        named = sorted(path.glob("*.gguf"))
    if named:
        if len(named) > 1 or named[0].suffix != ".gguf":
            raise StudyError(f"{named[-1]}: expected one .gguf file, or a folder with config.json and *.safetensors")
        if not named[0].is_file():
            raise StudyError(f"{named[0]}: file not found")
        model = read_gguf(named[0])
    else:
        model = read_hf_folder(path)
    return checked(model, path)


def refuse_unreadable(path: Path) -> None:
    """Raise StudyError for a path that is no UTF-8: the libraries that open tokenizers and weights cannot."""
    shown = readable_name(str(path))
    if shown != str(path):
        raise StudyError(f"{shown}: its name is not UTF-8, which tokenizers and safetensors need; rename it")


def checked(model: PlainModel, path: Path) -> PlainModel:
    """`model` with bf16 weights and a head of its own only if it has one; StudyError if it is not whole.

    The state dict must have exactly the names and shapes of transformers' class for the config, finite
    numbers, and a row for every token. A head in the file that differs from the embedding is the model's,
    whatever `tie_word_embeddings` says: so does transformers.
    """
    LlamaConfig.from_dict(model.config, f"{path}/config.json" if path.is_dir() else str(path))
    family = model.config["model_type"]
    model.state = {
        name: tensor.to(torch.bfloat16).contiguous()
        for name, tensor in sorted(model.state.items())
        if not name.endswith("rotary_emb.inv_freq")
    }
    settle_head(model)
    expected = expected_shapes(model.config)
    for name, shape in expected.items():
        if name not in model.state:
            raise StudyError(f"{path}: {name}: weights not found")
        if tuple(model.state[name].shape) != shape:
            raise StudyError(f"{path}: {name}: shape is {tuple(model.state[name].shape)}, expected {shape}")
    if extra := sorted(set(model.state) - set(expected)):
        raise StudyError(f"{path}: {extra[0]}: weights that a plain {family} model does not have")
    for name, tensor in model.state.items():
        if not tensor.isfinite().all():
            count = int((~tensor.isfinite()).sum())
            raise StudyError(f"{path}: {name}: {count} of {tensor.numel()} weights are NaN or infinite, none may be")
    check_ids(model, path)
    return model


def settle_head(model: PlainModel) -> None:
    """Make config and weights agree on whether the head is the embedding."""
    embedding, head = (model.state.get(name) for name in ("model.embed_tokens.weight", "lm_head.weight"))
    if not model.config["tie_word_embeddings"] or head is None:
        return
    if embedding is not None and not torch.equal(embedding, head):
        model.config["tie_word_embeddings"] = False
        model.notes["head"] = "config.json says tied, the file holds another lm_head.weight: it is kept"
        return
    model.state["model.embed_tokens.weight"] = model.state.pop("lm_head.weight")


def check_ids(model: PlainModel, path: Path) -> None:
    """Raise StudyError for a token, or an end of answers, that the model has no row for."""
    rows = model.config["vocab_size"]
    text, last = max(Tokenizer.from_str(model.tokenizer_json).get_vocab().items(), key=lambda entry: entry[1])
    if last >= rows:
        raise StudyError(
            f"{path}: tokenizer.json: {text!r} is token {last}, the model's embedding has {rows} rows (0…{rows - 1}); "
            "resize the embedding, or take the tokenizer that the model was trained with"
        )
    ends = model.generation_config.get("eos_token_id")
    for end in ends if isinstance(ends, list) else [ends]:
        if end is not None and (type(end) is not int or not 0 <= end < rows):
            raise StudyError(f"{path}: eos_token_id: {end!r} is not a token of the model (0…{rows - 1})")


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
