"""An early exit of the target: what lies between a shallow hidden state and the draft's logits."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from selfdraft.capacities import CAPACITIES, RANKS, capacity_named
from selfdraft.errors import StudyError
from selfdraft.files import read_json, saving_tensors
from selfdraft.models.cache import KVCache, Step
from selfdraft.models.linear import Linear, RMSNorm
from selfdraft.models.llama import Llama
from selfdraft.models.low_rank_head import LowRankHead
from selfdraft.models.making import Making, Pieces, Saved
from selfdraft.models.vocabulary import checked_ids
from selfdraft.models.weights import read_tensors


class Exit(nn.Module):
    """Exit after layer `layer` (0-based): an optional `body`, a norm, and an LM head.

    Its input is the target's hidden state at `depth`; the target's layers below are shared, never
    changed, so that their KV cache and hidden states serve drafts and verification alike. What is
    trained of it is told by `capacity` (see selfdraft.capacities): the norm always.
    """

    def __init__(self, layer: int, capacity: str, norm: RMSNorm, pieces: Pieces) -> None:
        super().__init__()
        self.layer, self.capacity, self.kind = layer, capacity, capacity_named(capacity)
        self.depth = self.kind.depth(layer)
        self.norm, self.head, self.body = norm, pieces.head, pieces.body
        self.cache_layers = 0 if self.body is None else self.body.cache_layers  # of the KV cache that the body needs
        self._targets = () if pieces.shared is None else (pieces.shared,)
        self.kept_ids: Tensor | None = None  # int64 [kept], after trim()

    def forward(self, hidden: Tensor, step: Step | None, cache: KVCache | None = None) -> Tensor:
        """Hidden states at `depth` -> what the LM head reads, `[batch, tokens, hidden]`.

        `step` is needed by bodies that attend, those with `cache_layers`.
        """
        if self.body is not None:
            hidden = self.body(hidden, step, cache)
        return self.norm(hidden)

    def logits(self, hidden: Tensor, step: Step, cache: KVCache | None = None) -> Tensor:
        """Hidden states at `depth [batch, tokens, hidden]` -> logits `[batch, tokens, vocab]`."""
        return self.head(self.forward(hidden, step, cache))

    def named_tensors(self) -> dict[str, Tensor]:
        """The trained tensors by name: `norm.weight`, and those of the head and of the body."""
        named = {"norm.weight": self.norm.weight} | self.kind.head_tensors(self.head)
        named |= self.body.named_tensors() if self.body is not None else {}
        return {name: tensor.detach() for name, tensor in named.items()}

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """The trained parameters by part, see `Capacity.parts`."""
        groups: dict[str, list[nn.Parameter]] = {"norm": [self.norm.weight]}
        for part, parameter in self.kind.parameters(self.head, self.body):
            groups.setdefault(part, []).append(parameter)
        return groups

    def trained(self) -> list[nn.Parameter]:
        """The trained parameters, the same ones in the same order each time."""
        return [parameter for group in self.parameter_groups().values() for parameter in group]

    def trim(self, kept_ids: Tensor) -> "Exit":
        """Keep only the head's rows of the tokens `kept_ids [kept]`; returns self. Drafts, never verifies.

        See `to_target_ids`. Before packing only.
        """
        ids = checked_ids(kept_ids, self.head.out_features)
        device = (self.head.up if isinstance(self.head, LowRankHead) else self.head).weight
        assert device is not None, "trim before packing"
        self.kept_ids = ids.to(device.device)
        self.head, self._targets = self.head.rows(self.kept_ids), ()
        return self

    def take(self, other: "Exit") -> None:
        """Copy the trained tensors of an exit of the same kind, which is not packed; this one may be.

        A cache of what was computed with the old ones is the caller's to renew. Not for a trimmed exit.
        """
        assert self.kept_ids is None, "a trimmed exit cannot follow another one"
        trained = {id(parameter) for parameter in other.trained()}
        for name, theirs in other.named_modules():
            mine = self.get_submodule(name)
            if isinstance(theirs, Linear) and isinstance(mine, Linear) and id(theirs.weight) in trained:
                assert theirs.weight is not None
                mine.take(theirs.weight, theirs.bias)
            elif isinstance(theirs, RMSNorm) and isinstance(mine, RMSNorm) and id(theirs.weight) in trained:
                mine.take(theirs.weight)

    def step_bytes(self) -> int:
        """Bytes of matrices that one draft step reads in the exit itself."""
        return sum(module.bytes for module in self.modules() if isinstance(module, Linear))

    def pack(self) -> "Exit":
        """Pack the exit's weights for inference on the CPU, but for the target's own head; returns self."""
        for module in self.modules():
            if isinstance(module, Linear | RMSNorm) and not any(module is shared for shared in self._targets):
                module.pack()
        return self


def draft_step_bytes(draft: Exit, target: Llama) -> int:
    """Bytes of matrices that a drafted token reads, in bfloat16: those of the target's first layers and of the exit."""
    found = [*target.layers[: draft.depth], draft]
    return sum(2 * x.in_features * x.out_features for part in found for x in part.modules() if isinstance(x, Linear))


def check_layer(layer: int, n_layers: int, where: str) -> None:
    """Raise StudyError naming `where` unless `layer` is one of the target's layers."""
    if not 0 <= layer < n_layers:
        raise StudyError(f"{where}: layer {layer} is not a layer of the target (0…{n_layers - 1})")


def check_capacity(name: str, where: str) -> None:
    """Raise StudyError naming `where` for a capacity that does not exist."""
    if name not in CAPACITIES:
        raise StudyError(f"{where}: {name!r} is unknown; one of {', '.join(CAPACITIES)} is right")


def untrained_exit(
    target: Llama,
    layer: int,
    capacity: str,
    dtype: torch.dtype | None = None,
    ranks: dict[str, int] | None = None,
    seed: int = 0,
) -> Exit:
    """The exit before any training: the target's final norm, LM head and layer, every addition at zero.

    At the last layer it is the target itself. With `dtype` the trained tensors are copied (master
    weights for training); without, they are shared with the target (head and head_block only). `ranks`
    are those of low_rank_head and lora (RANKS if left out), `seed` decides their random halves.
    """
    check_layer(layer, target.config.n_layers, "exit")
    check_capacity(capacity, "capacity")
    weight = target.norm.weight.detach()
    norm = RMSNorm(weight.data if dtype is None else weight.to(dtype, copy=True), target.config.norm_eps)
    making = Making(target, layer, dtype, RANKS | (ranks or {}), seed)
    return Exit(layer, capacity, norm, capacity_named(capacity).start(making))


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


def check_trained_on(config: dict[str, Any], target: Llama, where: str | Path) -> None:
    """Raise StudyError naming `where`, the file of `config`, if what it tells of was trained on another target."""
    for key, ours in target_identity(target).items():
        if config["target"].get(key) != ours:
            raise StudyError(
                f"{where}: trained on another target: its {key} is {config['target'].get(key)}, this target's is {ours}"
            )


def save_exit(draft: Exit, folder: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """Write `folder/draft.safetensors`, only what was trained, rounded to `dtype`."""
    tensors = {name: tensor.to("cpu", dtype).contiguous() for name, tensor in draft.named_tensors().items()}
    path = folder / "draft.safetensors"
    with saving_tensors(path):
        save_file(tensors, path)
    path.chmod(0o644)


def read_checkpoint_config(folder: str | Path) -> dict[str, Any]:
    """The checkpoint's config.json, with the keys that every reader needs."""
    path = Path(folder) / "config.json"
    config = read_json(path)
    for key in ("drafter", "layer", "T", "capacity", "objective", "seed", "dataset", "target"):
        if not isinstance(config, dict) or key not in config:
            raise StudyError(f"{path}: {key}: missing; is this a checkpoint folder made by `selfdraft train`?")
    return config


def exit_of(target: Llama, layer: int, capacity: str, tensors: dict[str, Tensor]) -> Exit:
    """The exit of the tensors that `named_tensors` gave, which it takes as they are.

    Raises KeyError for a missing tensor, StudyError for one of a wrong shape.
    """
    norm = RMSNorm(tensors["norm.weight"], target.config.norm_eps)
    return Exit(layer, capacity, norm, capacity_named(capacity).load(Saved(target, layer, tensors))).eval()


def load_exit(folder: str | Path, target: Llama) -> tuple[Exit, dict[str, Any]]:
    """Load a checkpoint for `target` (in its dtype, on its device); also returns its config.

    Raises StudyError if the checkpoint was trained on another target, or a file is missing or damaged.
    """
    config = read_checkpoint_config(folder)
    check_trained_on(config, target, Path(folder) / "config.json")
    path = Path(folder) / "draft.safetensors"
    tensors = {name: tensor.to(target.device, target.dtype) for name, tensor in read_tensors(path).items()}
    layer, name = config["layer"], config["capacity"]
    check_capacity(name, f"{Path(folder) / 'config.json'}: capacity")
    check_layer(layer, target.config.n_layers, str(Path(folder) / "config.json"))
    try:
        return exit_of(target, layer, name, tensors), config
    except KeyError as error:
        raise StudyError(f"{path}: tensor {error.args[0]} is missing") from None
    except StudyError as error:
        raise StudyError(f"{path}: {error}") from None
