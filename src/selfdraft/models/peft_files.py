"""LoRA as peft saves it: `adapter_config.json` and `adapter_model.safetensors`, by the names of transformers' model."""

from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from selfdraft.files import saving_tensors, write_json
from selfdraft.models.config import LlamaConfig
from selfdraft.models.lora import LoraLayers, parts_of


def peft_tensors(layers: LoraLayers, config: LlamaConfig, first: int = 0) -> dict[str, Tensor]:
    """What was trained, by peft's names; `layers` begin with the model's layer `first`.

    Matrices that are fused here share one A there: it stands once for each.
    """
    named, found = layers.named_tensors(), {}
    for layer in range(layers.cache_layers):
        for matrix, (names, rows) in parts_of(config).items():
            down, up = named[f"lora.{layer}.{matrix}.A"].detach(), named[f"lora.{layer}.{matrix}.B"].detach()
            for name, part in zip(names, up.split(rows), strict=True):
                prefix = f"base_model.model.model.layers.{first + layer}.{name}"
                found[f"{prefix}.lora_A.weight"] = down.float().cpu().clone()
                found[f"{prefix}.lora_B.weight"] = part.float().cpu().clone()
    return found


def save_peft(layers: LoraLayers, config: LlamaConfig, folder: Path, base: str, first: int = 0) -> None:
    """Write an adapter that peft puts on the base model's layers from `first` on; `base` is what it calls the model."""
    tensors = peft_tensors(layers, config, first)
    rank = next(tensor.shape[0] for name, tensor in tensors.items() if "lora_A" in name)
    names = [name.rpartition(".")[2] for names, _ in parts_of(config).values() for name in names]
    folder.mkdir()
    with saving_tensors(folder):
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": 2 * rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "target_modules": names,
        "layers_to_transform": list(range(first, first + layers.cache_layers)),
        "layers_pattern": "layers",
    }
    write_json(folder / "adapter_config.json", settings)
