"""EAGLE-3 drafters of other programs: raw checkpoints as SGLang and vLLM read them, and those of `speculators`.

A raw one holds `midlayer.…`, `fc`, `norm`, `lm_head` and the map `d2t`, `t2d`. SGLang counts the layers whose output
is a feature, from 0 on (`eagle_config.eagle_aux_hidden_state_layer_ids`); vLLM and `speculators` count the layers run,
as depths do here (`eagle_aux_hidden_state_layer_ids`). `speculators` says `layers.0.…`, and keeps the embedding.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from selfdraft.errors import StudyError
from selfdraft.files import read_json, saving_tensors, write_json
from selfdraft.models.config import LlamaConfig, checked_rope, is_positive, rope_settings
from selfdraft.models.eagle3 import LAYER, Eagle3, check_features, check_tensors, usual_features
from selfdraft.models.llama import Llama
from selfdraft.models.weights import read_tensors

FORMS = ("raw", "speculators")
THEIR_LAYER = "layers.0."
EMBEDDING = "embed_tokens.weight"
IDS = "eagle_aux_hidden_state_layer_ids"


def export_eagle3(draft: Eagle3, target: Llama, folder: Path, form: str, name: str = "", gamma: int = 4) -> None:
    """Write `config.json` and `model.safetensors` of a drafter, weights in their own number format.

    `name` says which target it is for, `gamma` how many tokens `speculators` is told to draft. Raises StudyError for a
    form that is none of FORMS, features that it has no layer id for, or a bias by the token before. A confidence head,
    which changes no draft, is left out: neither form has a place for it.
    """
    if form not in FORMS:
        raise StudyError(f"form: {form!r} is unknown; one of {', '.join(FORMS)} is right")
    ends = [depth for depth in draft.features if depth == target.config.n_layers or (depth == 0 and form == "raw")]
    if ends:
        what = "the embedding" if ends[0] == 0 else "the last layer's output"
        raise StudyError(f"features: depth {ends[0]}, {what}, has no layer id in the form {form}")
    if draft.bias is not None:
        raise StudyError(f"bias_rank: the form {form} has no place for a bias by the token before; compact keeps it")
    tensors = {name: tensor for name, tensor in draft.named_tensors().items() if not name.startswith("confidence.")}
    if form == "raw":
        config = _raw_config(draft)
    else:
        tensors = {name.replace(LAYER, THEIR_LAYER, 1): tensor for name, tensor in tensors.items()}
        tensors[EMBEDDING] = target.embedding.detach().to(tensors["fc.weight"].dtype)
        config = _speculators_config(draft, name, gamma)
    path = folder / "model.safetensors"
    with saving_tensors(path):
        save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, path, {"format": "pt"})
    path.chmod(0o644)
    write_json(folder / "config.json", config)


def import_eagle3(folder: str | Path, target: Llama) -> Eagle3:
    """Read a drafter in any of FORMS, in its own number format.

    Raises StudyError, one line that names the file and key, if it is for another target, of a shape that is not
    supported, or its tensors are not those that its config promises.
    """
    where = Path(folder) / "config.json"
    raw = read_json(where)
    if not isinstance(raw, dict):
        raise StudyError(f"{where}: found a {type(raw).__name__}, a JSON object is right")
    sizes = raw.get("transformer_layer_config", raw)
    if not isinstance(sizes, dict):
        raise StudyError(f"{where}: transformer_layer_config: found {sizes!r:.60}, a JSON object is right")
    _check_sizes(sizes, raw, target.config, str(where))
    for key, right in (("norm_before_residual", False), ("tie_word_embeddings", False)):
        if raw.get(key, right) is not right:
            raise StudyError(f"{where}: {key}: found {raw[key]!r}, {str(right).lower()} is what is supported")
    features = _features(raw, target.config.n_layers, str(where))
    switches: dict[str, Any] = {
        key: raw.get(key, raw.get("norm_before_fc", False) if key == "fc_norm" else False) for key in SWITCHES
    }
    for key, value in switches.items():
        if type(value) is not bool:
            raise StudyError(f"{where}: {key}: found {value!r}, true or false is right")
    path = Path(folder) / "model.safetensors"
    tensors = {
        LAYER + name.removeprefix(THEIR_LAYER) if name.startswith(THEIR_LAYER) else name: tensor
        for name, tensor in read_tensors(path).items()
    }
    _check_embedding(path, tensors.pop(EMBEDDING, None), target)
    head = tensors.get("lm_head.weight")
    if head is not None and "d2t" not in tensors and len(head) == target.config.vocab_size:
        tensors["d2t"] = torch.zeros(len(head), dtype=torch.int64)
    if "d2t" in tensors and "t2d" not in tensors:
        tensors["t2d"] = _reached(path, tensors["d2t"], target.config.vocab_size)
    ids = check_tensors(path, tensors, target.config, len(features), switches["fc_norm"])
    asked = raw.get("draft_vocab_size", len(ids))
    if asked != len(ids):
        raise StudyError(f"{where}: draft_vocab_size: found {asked!r}, {path.name} has {len(ids)} rows")
    floats = {name: tensor for name, tensor in tensors.items() if name not in ("d2t", "t2d")}
    return Eagle3(target.config, features, floats, ids, switches["norm_output"]).eval()


SWITCHES = ("fc_norm", "norm_output")


def _layer_config(draft: Eagle3) -> dict[str, Any]:
    """The sizes of the drafter's layer, by transformers' names."""
    c = draft.config
    scaling = {key: value for key, value in c.rope.items() if key not in ("rope_theta", "max_position_embeddings")}
    return {
        "model_type": "llama",
        "vocab_size": c.vocab_size,
        "hidden_size": c.hidden_size,
        "intermediate_size": c.intermediate_size,
        "num_hidden_layers": 1,
        "num_attention_heads": c.n_heads,
        "num_key_value_heads": c.n_kv_heads,
        "head_dim": c.head_dim,
        "rms_norm_eps": c.norm_eps,
        "max_position_embeddings": c.rope["max_position_embeddings"],
        "rope_theta": c.rope["rope_theta"],
        "rope_scaling": None if scaling.get("rope_type") == "default" else scaling,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "torch_dtype": str(next(draft.parameters()).dtype).removeprefix("torch."),
    }


def _raw_config(draft: Eagle3) -> dict[str, Any]:
    return _layer_config(draft) | {
        "architectures": ["LlamaForCausalLMEagle3"],
        "draft_vocab_size": len(draft.kept_ids),
        "target_hidden_size": draft.config.hidden_size,
        "norm_before_residual": False,
        "fc_norm": len(draft.fc_norm) > 0,
        "norm_output": draft.norm_output,
        "eagle_config": {"use_aux_hidden_state": True, IDS: [depth - 1 for depth in draft.features]},
        IDS: list(draft.features),
    }


def _speculators_config(draft: Eagle3, name: str, gamma: int) -> dict[str, Any]:
    proposal = {
        "proposal_type": "greedy",
        "speculative_tokens": gamma,
        "verifier_accept_k": 1,
        "accept_tolerance": 0.0,
    }
    return {
        "speculators_model_type": "eagle3",
        "architectures": ["Eagle3Speculator"],
        "speculators_version": "0.3.0",
        "draft_vocab_size": len(draft.kept_ids),
        "target_hidden_size": draft.config.hidden_size,
        "norm_before_residual": False,
        "norm_before_fc": False,
        "fc_norm": len(draft.fc_norm) > 0,
        "norm_output": draft.norm_output,
        "embed_requires_grad": False,
        IDS: list(draft.features),
        "tie_word_embeddings": False,
        "torch_dtype": _layer_config(draft)["torch_dtype"],
        "transformer_layer_config": _layer_config(draft),
        "speculators_config": {
            "algorithm": "eagle3",
            "default_proposal_method": "greedy",
            "proposal_methods": [proposal],
            "verifier": {"name_or_path": name, "architectures": ["LlamaForCausalLM"]},
        },
    }


def _check_sizes(sizes: dict[str, Any], raw: dict[str, Any], config: LlamaConfig, where: str) -> None:
    """Raise StudyError for the first size, norm or rope that is not the target's."""
    wanted = {
        "hidden_size": config.hidden_size,
        "vocab_size": config.vocab_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": 1,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim,
        "rms_norm_eps": config.norm_eps,
    }
    for key, right in wanted.items():
        found = sizes.get(key, right)
        if found != right:
            whose = "one layer is" if key == "num_hidden_layers" else f"the target's is {right}:"
            told = "supported" if key == "num_hidden_layers" else "this drafter is for another target"
            raise StudyError(f"{where}: {key}: found {found!r:.60}, {whose} {told}")
    found = raw.get("target_hidden_size", config.hidden_size)
    if found != config.hidden_size:
        raise StudyError(f"{where}: target_hidden_size: found {found!r:.60}, the target's is {config.hidden_size}")
    positions = sizes.get("max_position_embeddings", config.rope["max_position_embeddings"])
    if not is_positive(positions):
        raise StudyError(f"{where}: max_position_embeddings: found {positions!r:.60}, a number of tokens is right")
    rope = checked_rope(rope_settings(sizes, "llama", positions), config.head_dim, where)
    scaled = rope["rope_type"] in ("yarn", "longrope", "dynamic")
    for key in sorted({*rope, *config.rope} - ({"max_position_embeddings"} if not scaled else set())):
        ours, theirs = config.rope.get(key), rope.get(key)
        if ours != theirs and key != "partial_rotary_factor":
            raise StudyError(f"{where}: rope: {key} is {theirs!r:.60}, the target's is {ours!r:.60}")


def _features(raw: dict[str, Any], n_layers: int, where: str) -> list[int]:
    """The depths that are fused. Raises StudyError for ids that are none, or two lists that disagree."""
    inner = raw.get("eagle_config")
    said: dict[str, list[int]] = {}
    for name, found, shift in (
        (IDS, raw.get(IDS), 0),
        (f"eagle_config.{IDS}", inner.get(IDS) if isinstance(inner, dict) else None, 1),
    ):
        if found is None:
            continue
        if not isinstance(found, list) or any(type(layer) is not int for layer in found):
            raise StudyError(f"{where}: {name}: found {found!r:.60}, a list of layers is right")
        said[name] = [layer + shift for layer in found]
        check_features(said[name], n_layers, f"{where}: {name}")
    if len({tuple(depths) for depths in said.values()}) > 1:
        told = " and ".join(f"{name} says depths {depths}" for name, depths in said.items())
        raise StudyError(f"{where}: {told}")
    return next(iter(said.values()), list(usual_features(n_layers)))


def _check_embedding(path: Path, found: Tensor | None, target: Llama) -> None:
    """Raise StudyError for an embedding that is not the target's: none of its own is supported."""
    if found is None:
        return
    ours = target.embedding.detach().to("cpu", torch.float32)
    if found.shape != ours.shape or not torch.allclose(found.float(), ours, rtol=1e-2, atol=1e-3):
        raise StudyError(f"{path}: {EMBEDDING}: is not the target's embedding; a drafter with its own is not supported")


def _reached(path: Path, d2t: Tensor, vocab: int) -> Tensor:
    """`t2d`, where a checkpoint leaves it out. Raises StudyError for a map out of range."""
    ids = d2t.long() + torch.arange(len(d2t))
    if len(ids) == 0 or int(ids.min()) < 0 or int(ids.max()) >= vocab:
        raise StudyError(f"{path}: d2t: leads to tokens that the target does not have (0…{vocab - 1})")
    return torch.zeros(vocab, dtype=torch.bool).index_fill_(0, ids, True)
