"""An early exit: an LM head moved to an earlier layer, alone or with its own copy of the last kept block."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from selfdraft.errors import StudyError
from selfdraft.files import read_json
from selfdraft.models.cache import KVCache, Step
from selfdraft.models.linear import Linear, RMSNorm
from selfdraft.models.llama import Block, Llama
from selfdraft.models.vocabulary import checked_ids
from selfdraft.models.weights import read_tensors

CAPACITIES = ("head", "head_block")


def shared_depth(layer: int, capacity: str) -> int:
    """How many of the target's own layers the draft runs unchanged: the depth of its input."""
    return layer if capacity == "head_block" else layer + 1


class Exit(nn.Module):
    """Exit after layer `layer` (0-based): `norm`, `head`, and for `head_block` a private layer `layer`.

    Its input is the target's hidden state at `depth`; the target's layers below are shared, never
    changed, so that their KV cache and hidden states serve drafts and verification alike.
    """

    def __init__(self, layer: int, capacity: str, norm: RMSNorm, head: Linear, block: Block | None) -> None:
        super().__init__()
        self.layer, self.capacity, self.depth = layer, capacity, shared_depth(layer, capacity)
        self.norm, self.head, self.block = norm, head, block
        self.kept_ids: Tensor | None = None  # int64 [kept], after trim()

    def forward(self, hidden: Tensor, step: Step, cache: KVCache | None = None) -> Tensor:
        """Hidden states at `depth` -> what the LM head reads, `[batch, tokens, hidden]`."""
        if self.block is not None:
            hidden = self.block(hidden, step, cache, 0)
        return self.norm(hidden)

    def logits(self, hidden: Tensor, step: Step, cache: KVCache | None = None) -> Tensor:
        """Hidden states at `depth [batch, tokens, hidden]` -> logits `[batch, tokens, vocab]`."""
        return self.head(self.forward(hidden, step, cache))

    def named_tensors(self) -> dict[str, Tensor]:
        """The trained tensors by name: `norm.weight`, `head.weight`, `block.…`."""
        assert self.head.weight is not None, "packed weights cannot be saved"
        named = {"norm.weight": self.norm.weight.data, "head.weight": self.head.weight.data}
        if self.block is not None:
            named |= {f"block.{name}": tensor for name, tensor in self.block.named_tensors().items()}
        return {name: tensor.detach() for name, tensor in named.items()}

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Trained parameters by part: norm (with the block's), head, block matrices."""
        groups: dict[str, list[nn.Parameter]] = {"norm": [], "head": [], "block": []}
        for name, parameter in self.named_parameters():
            part = "head" if name.startswith("head.") else "norm" if parameter.dim() == 1 else "block"
            groups[part].append(parameter)
        return {name: parameters for name, parameters in groups.items() if parameters}

    def trim(self, kept_ids: Tensor) -> "Exit":
        """Keep only the head's rows of the tokens `kept_ids [kept]`; returns self. Drafts, never verifies.

        See `to_target_ids`. Before packing only.
        """
        assert self.head.weight is not None, "trim before packing"
        self.kept_ids = checked_ids(kept_ids, self.head.out_features).to(self.head.weight.device)
        self.head = Linear(self.head.weight.data[self.kept_ids])
        return self

    def step_bytes(self) -> int:
        """Bytes of matrices that one draft step reads in the exit itself."""
        return sum(module.bytes for module in self.modules() if isinstance(module, Linear))

    def pack(self) -> "Exit":
        """Pack the exit's weights for inference on the CPU; returns self."""
        for module in self.modules():
            if isinstance(module, Linear | RMSNorm):
                module.pack()
        return self


def check_layer(layer: int, n_layers: int, where: str) -> None:
    """Raise StudyError naming `where` unless `layer` is one of the target's layers."""
    if not 0 <= layer < n_layers:
        raise StudyError(f"{where}: layer {layer} is not a layer of the target (0…{n_layers - 1})")


def untrained_exit(target: Llama, layer: int, capacity: str, dtype: torch.dtype | None = None) -> Exit:
    """The exit before any training: the target's final norm, LM head and layer `layer`.

    At the last layer it is the target itself. With `dtype` the tensors are copied (master weights for
    training); without, they are shared with the target.
    """
    check_layer(layer, target.config.n_layers, "exit")
    if capacity not in CAPACITIES:
        raise StudyError(f"capacity: {capacity!r} is unknown; one of {', '.join(CAPACITIES)} is right")
    block = target.layers[layer]
    assert isinstance(block, Block)
    if dtype is None:
        own = RMSNorm(target.norm.weight.data, target.config.norm_eps)
        return Exit(layer, capacity, own, target.head, block if capacity == "head_block" else None)
    assert target.head.weight is not None, "copy an exit before the target is packed"

    def copied(tensor: Tensor) -> Tensor:
        return tensor.detach().to(dtype, copy=True)

    norm = RMSNorm(copied(target.norm.weight), target.config.norm_eps)
    own_block = None
    if capacity == "head_block":
        own_block = Block(target.config, {name: copied(t) for name, t in block.named_tensors().items()})
    return Exit(layer, capacity, norm, Linear(copied(target.head.weight)), own_block)


def target_identity(target: Llama) -> dict[str, Any]:
    """What a checkpoint remembers of its target: sizes, and a fingerprint of the weights."""
    c = target.config
    return {
        "model_type": c.model_type,
        "vocab_size": c.vocab_size,
        "hidden_size": c.hidden_size,
        "n_layers": c.n_layers,
        "n_heads": c.n_heads,
        "n_kv_heads": c.n_kv_heads,
        "head_dim": c.head_dim,
        "fingerprint": target.fingerprint,
    }


def save_exit(draft: Exit, folder: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """Write `folder/draft.safetensors`, only what was trained, rounded to `dtype`."""
    tensors = {name: tensor.to("cpu", dtype).contiguous() for name, tensor in draft.named_tensors().items()}
    try:
        save_file(tensors, folder / "draft.safetensors")
    except SafetensorError as error:
        raise StudyError(f"{folder / 'draft.safetensors'}: could not be written ({error})") from None


def read_checkpoint_config(folder: str | Path) -> dict[str, Any]:
    """The checkpoint's config.json, with the keys that every reader needs."""
    path = Path(folder) / "config.json"
    config = read_json(path)
    for key in ("drafter", "layer", "T", "capacity", "objective", "seed", "dataset", "target"):
        if not isinstance(config, dict) or key not in config:
            raise StudyError(f"{path}: {key}: missing; is this a checkpoint folder made by `selfdraft train`?")
    return config


def load_exit(folder: str | Path, target: Llama) -> tuple[Exit, dict[str, Any]]:
    """Load a checkpoint for `target` (in its dtype, on its device); also returns its config.

    Raises StudyError if the checkpoint was trained on another target, or a file is missing or damaged.
    """
    config = read_checkpoint_config(folder)
    ours = target_identity(target)
    for key, found in ours.items():
        if config["target"].get(key) != found:
            raise StudyError(
                f"{Path(folder) / 'config.json'}: trained on another target: its {key} is "
                f"{config['target'].get(key)}, this target's is {found}"
            )
    path = Path(folder) / "draft.safetensors"
    tensors = {name: tensor.to(target.device, target.dtype) for name, tensor in read_tensors(path).items()}
    layer, capacity = config["layer"], config["capacity"]
    if capacity not in CAPACITIES:
        raise StudyError(f"{Path(folder) / 'config.json'}: capacity: {capacity!r} is unknown")
    head, needed = tensors.get("head.weight"), target.embedding.shape
    if head is not None and head.shape != needed:
        raise StudyError(f"{path}: head.weight is {tuple(head.shape)}, the target needs {tuple(needed)}")
    check_layer(layer, target.config.n_layers, str(Path(folder) / "config.json"))
    try:
        block = None
        if capacity == "head_block":
            own = {n.removeprefix("block."): t for n, t in tensors.items() if n.startswith("block.")}
            block = Block(target.config, own)
        norm = RMSNorm(tensors["norm.weight"], target.config.norm_eps)
        return Exit(layer, capacity, norm, Linear(tensors["head.weight"]), block).eval(), config
    except KeyError as error:
        raise StudyError(f"{path}: tensor {error.args[0]} is missing") from None
