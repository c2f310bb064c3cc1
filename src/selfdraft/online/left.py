"""What a run leaves in its folder: the draft, adapters by themselves, and the model that a shared verifier became."""

from pathlib import Path
from typing import Any

import torch

from selfdraft.models.exit import draft_step_bytes, exit_of, save_exit, target_identity
from selfdraft.models.llama import load_target
from selfdraft.models.lora import LoraLayers
from selfdraft.models.peft_files import save_peft
from selfdraft.online.pair import Pair


def leave(folder: Path, pair: Pair, base: Path) -> dict[str, Any]:
    """Write `draft.safetensors` and, where there are such, `lora_S/`, `lora_D/` and `target/`; `base` is the target's
    own folder.

    Returns what the draft's config says of them: where it leaves the target, what was trained, whose the text is, and
    the identity of the target that it goes with.
    """
    draft, target, verifier = pair.student, pair.target, pair.verifier
    identity, trained = target_identity(target), list(draft.named_tensors().values())
    if isinstance(draft.body, LoraLayers):
        save_peft(draft.body, target.config, folder / "lora_S", base.name)
    if verifier is None:
        saved, whose = draft, {"lossless_against": "base", "target": identity}
    else:
        save_peft(verifier.deep, target.config, folder / "lora_D", base.name, verifier.first)
        trained += verifier.deep.named_tensors().values()
        verifier.save_target(base, folder / "target")
        adapted = target_identity(load_target(folder / "target", target.dtype))
        whose = {"lossless_against": "adapted", "target": adapted, "base": identity}
        saved = exit_of(target, draft.layer, "norm", draft.named_tensors())  # on the adapted layers
    save_exit(saved, folder, torch.float32)
    parameters = sum(tensor.numel() for tensor in trained)
    return {
        "layer": draft.layer,
        "capacity": saved.capacity,
        "trained_parameters": parameters,
        "trained_bytes": 2 * parameters,
        "draft_step_bytes": draft_step_bytes(pair.serving, target),
        **whose,
    }
