"""EAGLE-3's drafter: the target's states after a few layers, fused, and one decoder layer over [embedding ‖ state].

Li et al. 2025 (arXiv 2503.01840). A pair is the target's features of token t and the embedding of token t + 1; the
layer's output is a state of token t + 1, from which its head predicts token t + 2, and which takes the features' place
where the target has not been yet.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from selfdraft.errors import StudyError
from selfdraft.files import read_json, saving_tensors
from selfdraft.models.cache import KVCache, Step
from selfdraft.models.compact import KEY, restored
from selfdraft.models.confidence import BIAS, WEIGHT, Confidence
from selfdraft.models.config import LlamaConfig
from selfdraft.models.exit import check_trained_on
from selfdraft.models.linear import Linear, RMSNorm
from selfdraft.models.llama import Attention, Block, Llama, fused, parted
from selfdraft.models.token_bias import EMBEDDING, HEAD, TokenBias
from selfdraft.models.vocabulary import checked_ids
from selfdraft.models.weights import read_tensors

LAYER = "midlayer."  # the prefix of the layer's tensors in a checkpoint


class Midlayer(nn.Module):
    """A decoder layer whose attention reads [embedding ‖ state], each normed; what it finds is added to the state."""

    def __init__(self, config: LlamaConfig, tensors: dict[str, Tensor]) -> None:
        """Take the tensors of one layer by their names in a checkpoint, the prefix removed."""
        super().__init__()
        self.config = config
        self.input_norm = RMSNorm(tensors["input_layernorm.weight"], config.norm_eps)  # of the embedding
        self.hidden_norm = RMSNorm(tensors["hidden_norm.weight"], config.norm_eps)  # of the state
        self.attention = Attention(config, tensors)
        self.post_norm = RMSNorm(tensors["post_attention_layernorm.weight"], config.norm_eps)
        self.gate_up = fused(tensors, "mlp.gate_proj", "mlp.up_proj")
        self.down = fused(tensors, "mlp.down_proj")

    def named_tensors(self) -> dict[str, Tensor]:
        """The inverse of the constructor."""
        inner = self.config.intermediate_size
        return {
            "input_layernorm.weight": self.input_norm.weight,
            "hidden_norm.weight": self.hidden_norm.weight,
            "post_attention_layernorm.weight": self.post_norm.weight,
            **self.attention.named_tensors(),
            **parted(self.gate_up, ("mlp.gate_proj", "mlp.up_proj"), (inner, inner)),
            **parted(self.down, ("mlp.down_proj",), (self.config.hidden_size,)),
        }

    def both(self, embedding: Tensor, state: Tensor) -> Tensor:
        """What the attention reads: `[…, hidden]` twice -> `[…, 2 * hidden]`."""
        return torch.cat((self.input_norm(embedding), self.hidden_norm(state)), dim=-1)

    def after(self, state: Tensor, mixed: Tensor) -> Tensor:
        """From what the heads gathered to the layer's output, `[…, hidden]`."""
        state = self.attention.o.add_to(state, mixed)
        gate, up = self.gate_up(self.post_norm(state)).chunk(2, dim=-1)
        return self.down.add_to(state, F.silu(gate) * up)

    def forward(self, embedding: Tensor, state: Tensor, step: Step, cache: KVCache | None = None) -> Tensor:
        """`[batch, tokens, hidden]` twice -> the same once."""
        return self.after(state, self.attention.mix(self.both(embedding, state), step, cache, 0))


class Eagle3(nn.Module):
    """Fusion, layer, norm and a head of few tokens; perhaps a bias by the token before, and a confidence.

    `features` are the target's depths whose states are fused, ascending; `kept_ids [kept]` the target's ids of the
    head's rows. Two switches are EAGLE-3.1's: `fc_norm` norms each feature before the fusion; with `norm_output` the
    state that the next step reads is the normed one. `bias` and `confidence` are there if their tensors are; EAGLE-3
    has neither.
    """

    cache_layers = 1

    def __init__(
        self,
        config: LlamaConfig,
        features: Sequence[int],
        tensors: dict[str, Tensor],
        kept_ids: Tensor,
        norm_output: bool = False,
    ) -> None:
        """Take the tensors by their names in a checkpoint but for the map. Raises KeyError if one is missing."""
        super().__init__()
        self.config, self.features, self.norm_output = config, tuple(features), norm_output
        layer = {name.removeprefix(LAYER): tensor for name, tensor in tensors.items() if name.startswith(LAYER)}
        norms = [tensors[name] for place in range(len(features)) if (name := f"fc_norm.{place}.weight") in tensors]
        self.fc_norm = nn.ModuleList(RMSNorm(weight, config.norm_eps) for weight in norms)
        self.fc = Linear(tensors["fc.weight"])
        self.midlayer = Midlayer(replace(config, qk_norm=False), layer)
        self.norm = RMSNorm(tensors["norm.weight"], config.norm_eps)
        self.head = Linear(tensors["lm_head.weight"])
        self.bias = TokenBias(tensors[EMBEDDING], tensors[HEAD]) if EMBEDDING in tensors else None
        self.confidence = Confidence(tensors[WEIGHT], tensors[BIAS]) if WEIGHT in tensors else None
        self.kept_ids = kept_ids

    def named_tensors(self) -> dict[str, Tensor]:
        """All tensors by their names in a checkpoint, the map of the vocabulary included."""
        named: dict[str, Tensor] = {f"fc_norm.{name}": tensor for name, tensor in self.fc_norm.named_parameters()}
        named |= {LAYER + name: tensor for name, tensor in self.midlayer.named_tensors().items()}
        for name, module in (("fc", self.fc), ("norm", self.norm), ("lm_head", self.head)):
            assert module.weight is not None, "packed weights cannot be saved"
            named[f"{name}.weight"] = module.weight
        if self.bias is not None:
            assert self.bias.head.weight is not None, "packed weights cannot be saved"
            named |= {EMBEDDING: self.bias.embedding, HEAD: self.bias.head.weight}
        if self.confidence is not None:
            named |= {f"confidence.{name}": tensor for name, tensor in self.confidence.named_parameters()}
        return {name: tensor.detach() for name, tensor in named.items()} | self.map_tensors()

    def map_tensors(self) -> dict[str, Tensor]:
        """`d2t [kept]`: a token's id in the target less its row here; `t2d [vocab]`: whether the target's token is
        here."""
        ids = self.kept_ids
        here = torch.zeros(self.config.vocab_size, dtype=torch.bool, device=ids.device)
        here[ids] = True
        return {"d2t": ids - torch.arange(len(ids), device=ids.device), "t2d": here}

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """All that is trained, by part: each has a learning rate of its own."""
        groups: dict[str, list[nn.Parameter]] = {"norm": [], "fc": [], "layer": [], "head": []}
        groups |= {part: [] for part in ("bias", "confidence") if getattr(self, part) is not None}
        for name, parameter in self.named_parameters():
            first = name.partition(".")[0]
            part = "norm" if "norm" in name else {"midlayer": "layer"}.get(first, first)
            groups[part].append(parameter)
        return groups

    def fuse(self, features: Tensor) -> Tensor:
        """The target's states at the depths `features`, side by side, `[…, depths * hidden]` -> a state."""
        if len(self.fc_norm):
            parts = features.chunk(len(self.features), dim=-1)
            features = torch.cat([norm(part) for norm, part in zip(self.fc_norm, parts, strict=True)], dim=-1)
        return self.fc(features)

    def handed_on(self, output: Tensor) -> Tensor:
        """What the next step has for the features, of a layer's output."""
        return self.norm(output) if self.norm_output else output

    def read(self, output: Tensor) -> Tensor:
        """What the head reads, of a layer's output."""
        return self.norm(output)

    def logits(self, output: Tensor, before: Tensor | None = None) -> Tensor:
        """Of the kept tokens, `[…, kept]`, of a layer's output.

        `before`, int64 `[…]`, are the tokens that they would follow: those whose embedding the layer has read. Only a
        bias asks for them.
        """
        logits: Tensor = self.head(self.read(output))
        if self.bias is None:
            return logits
        assert before is not None, "a bias needs the tokens before"
        return self.bias.add_to(logits, before)

    def products(self, read: Tensor, before: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The logits as (input, weight) pairs (see `Linear.products`), of what the head reads and the tokens before."""
        found = self.head.products(read)
        return found if self.bias is None else found + self.bias.head.products(self.bias.inputs(before, read.dtype))

    def trim(self, kept_ids: Tensor) -> "Eagle3":
        """Keep of the own vocabulary only these tokens too; returns self. Before packing only.

        Raises StudyError if none is left.
        """
        rows = torch.isin(self.kept_ids, checked_ids(kept_ids, self.config.vocab_size).to(self.kept_ids.device))
        if not rows.any():
            raise StudyError("draft vocabulary: none of these tokens is in the drafter's own")
        places = rows.nonzero().squeeze(1)
        self.kept_ids, self.head = self.kept_ids[rows], self.head.rows(places)
        if self.bias is not None:
            self.bias.head = self.bias.head.rows(places)
        return self

    def step_bytes(self) -> int:
        """Bytes of matrices that one draft step reads; the fusion, once a cycle, is not among them."""
        more = 0 if self.bias is None else self.bias.step_bytes
        more += 0 if self.confidence is None else self.confidence.bytes
        return self.head.bytes + more + sum(m.bytes for m in self.midlayer.modules() if isinstance(m, Linear))

    def pack(self) -> "Eagle3":
        """Pack all weights for inference on the CPU; returns self."""
        for module in self.modules():
            if isinstance(module, Linear | RMSNorm):
                module.pack()
        return self


def usual_features(n_layers: int) -> tuple[int, ...]:
    """EAGLE-3's own: what goes into layers 2, n/2 and n − 3, as far as the target has them."""
    return tuple(sorted({min(2, n_layers), n_layers // 2, max(1, n_layers - 3)}))


def check_features(features: Sequence[int], n_layers: int, where: str) -> None:
    """Raise StudyError naming `where` unless the depths ascend, and are depths of the target."""
    for depth in features:
        if not 0 <= depth <= n_layers:
            raise StudyError(f"{where}: {depth} is not a depth of the target (0…{n_layers})")
    if not features or list(features) != sorted(set(features)):
        raise StudyError(f"{where}: found {list(features)}, ascending depths of the target are right")


def shapes(
    config: LlamaConfig, features: int, kept: int, fc_norm: bool, bias_rank: int = 0, confidence: bool = False
) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor of a checkpoint."""
    c = config
    hidden, inner, q, kv = c.hidden_size, c.intermediate_size, c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    layer = {
        "input_layernorm": (hidden,),
        "hidden_norm": (hidden,),
        "post_attention_layernorm": (hidden,),
        "self_attn.q_proj": (q, 2 * hidden),
        "self_attn.k_proj": (kv, 2 * hidden),
        "self_attn.v_proj": (kv, 2 * hidden),
        "self_attn.o_proj": (hidden, q),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    rest = {"fc": (hidden, features * hidden), "norm": (hidden,), "lm_head": (kept, hidden)}
    rest |= {f"fc_norm.{place}": (hidden,) for place in range(features if fc_norm else 0)}
    weights = {LAYER + name: shape for name, shape in layer.items()} | rest
    found = {f"{name}.weight": shape for name, shape in weights.items()} | {"d2t": (kept,), "t2d": (c.vocab_size,)}
    if bias_rank:
        found |= TokenBias.shapes(c.vocab_size, kept, bias_rank)
    return found | Confidence.shapes(hidden) if confidence else found


def untrained_eagle3(
    target: Llama,
    features: Sequence[int],
    kept_ids: Tensor,
    dtype: torch.dtype,
    fc_norm: bool = False,
    norm_output: bool = False,
    bias_rank: int = 0,
    confidence: bool = False,
    seed: int = 0,
) -> Eagle3:
    """The drafter before any training, made of the target: its last layer, its norm, its head's rows of `kept_ids`.

    The fusion hands on the deepest feature; of the embedding the attention knows nothing yet. Tensors are copied, in
    `dtype`. A bias of rank `bias_rank` (0: none) changes nothing yet; `seed` is that of its one random matrix.
    Raises StudyError for depths or ids that the target does not have.
    """
    c = target.config
    check_features(features, c.n_layers, "features")
    ids = checked_ids(kept_ids, c.vocab_size).to(target.device)
    source = target.layers[c.n_layers - 1]
    assert isinstance(source, Block)
    assert target.head.weight is not None, "make a drafter before the target is packed"
    last = source.named_tensors()
    tensors: dict[str, Tensor] = {}
    for name, tensor in last.items():
        if name.endswith(".bias") or "_norm." in name:  # of Qwen: a drafter of this format has none
            continue
        if name.startswith(("self_attn.q", "self_attn.k", "self_attn.v")):
            tensor = torch.cat((torch.zeros_like(tensor), tensor), dim=1)
        tensors[LAYER + name] = tensor
    tensors[LAYER + "hidden_norm.weight"] = last["input_layernorm.weight"]
    ones = torch.ones(c.hidden_size, device=target.device)
    tensors[LAYER + "input_layernorm.weight"] = ones
    if fc_norm:
        tensors |= {f"fc_norm.{place}.weight": ones for place in range(len(features))}
    nothing = torch.zeros(c.hidden_size, (len(features) - 1) * c.hidden_size, device=target.device)
    tensors["fc.weight"] = torch.cat((nothing, torch.eye(c.hidden_size, device=target.device)), dim=1)
    tensors["norm.weight"] = target.norm.weight
    tensors["lm_head.weight"] = target.head.weight[ids]
    if bias_rank:
        tensors |= TokenBias.untrained(c.vocab_size, len(ids), bias_rank, seed)
    if confidence:
        tensors |= Confidence.untrained(c.hidden_size)
    copied = {name: tensor.detach().to(target.device, dtype, copy=True) for name, tensor in tensors.items()}
    return Eagle3(c, features, copied, ids, norm_output)


def save_eagle3(draft: Eagle3, folder: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """Write `folder/draft.safetensors` under EAGLE-3's own names, weights rounded to `dtype`."""
    tensors = {
        name: (tensor.to("cpu", dtype) if tensor.is_floating_point() else tensor.cpu()).contiguous()
        for name, tensor in draft.named_tensors().items()
    }
    path = folder / "draft.safetensors"
    with saving_tensors(path):
        save_file(tensors, path)
    path.chmod(0o644)


def read_drafter_config(folder: str | Path, kind: str) -> dict[str, Any]:
    """The config.json of a trained drafter. Raises StudyError if it is none of this kind."""
    path = Path(folder) / "config.json"
    config = read_json(path)
    for key in ("kind", "features", "fc_norm", "norm_output", "target"):
        if not isinstance(config, dict) or key not in config:
            raise StudyError(f"{path}: {key}: missing; is this a folder made by `selfdraft train-drafter`?")
    if config["kind"] != kind:
        raise StudyError(f"{path}: kind: found {config['kind']!r}, {kind} is right")
    return config


def _parts(config: dict[str, Any], where: Path) -> tuple[int, bool]:
    """`bias_rank` and `confidence`; 0 and false of a config.json that does not say. Raises StudyError for others."""
    rank, confidence = config.get("bias_rank", 0), config.get("confidence", False)
    if type(rank) is not int or rank < 0:
        raise StudyError(f"{where}: bias_rank: found {rank!r:.60}, a whole number ≥ 0 is right")
    if type(confidence) is not bool:
        raise StudyError(f"{where}: confidence: found {confidence!r:.60}, true or false is right")
    return rank, confidence


def load_eagle3(folder: str | Path, target: Llama) -> tuple[Eagle3, dict[str, Any]]:
    """Load a trained drafter, compact or not, for `target` (in its dtype, on its device); also returns its config.

    Raises StudyError if it was trained on another target, reads depths that this one does not have, or its tensors are
    not those of its config.
    """
    config = read_drafter_config(folder, "eagle3")
    where = Path(folder) / "config.json"
    check_trained_on(config, target, where)
    check_features(config["features"], target.config.n_layers, f"{where}: features")
    path = Path(folder) / "draft.safetensors"
    tensors = restored(path, read_tensors(path), config.get(KEY))
    parts = _parts(config, where)
    ids = check_tensors(path, tensors, target.config, len(config["features"]), config["fc_norm"], *parts)
    floats = {name: t.to(target.device, target.dtype) for name, t in tensors.items() if name not in ("d2t", "t2d")}
    draft = Eagle3(target.config, config["features"], floats, ids.to(target.device), config["norm_output"])
    return draft.eval(), config


def check_tensors(
    path: Path,
    tensors: dict[str, Tensor],
    config: LlamaConfig,
    features: int,
    fc_norm: bool,
    bias_rank: int = 0,
    confidence: bool = False,
) -> Tensor:
    """The target's ids of the draft vocabulary, int64 `[kept]`, of a checkpoint's map.

    Raises StudyError for missing, unknown or wrongly shaped tensors, or a map that is none.
    """
    head = tensors.get("lm_head.weight")
    wanted = shapes(config, features, 0 if head is None else len(head), fc_norm, bias_rank, confidence)
    if wrong := [*_told("missing", wanted, tensors), *_told("unknown", tensors, wanted)]:
        raise StudyError(f"{path}: {'; '.join(wrong)}")
    for name, shape in wanted.items():
        if tuple(tensors[name].shape) != shape:
            raise StudyError(f"{path}: {name} is {tuple(tensors[name].shape)}, the target needs {shape}")
    ids = tensors["d2t"].long() + torch.arange(len(tensors["d2t"]))
    if len(ids) == 0 or int(ids.min()) < 0 or int(ids.max()) >= config.vocab_size:
        raise StudyError(f"{path}: d2t: leads to tokens {_span(ids)}, the target has 0…{config.vocab_size - 1}")
    if not (ids[1:] > ids[:-1]).all():
        raise StudyError(f"{path}: d2t: the tokens that it leads to do not ascend")
    if not torch.equal(tensors["t2d"].nonzero().squeeze(1), ids):
        raise StudyError(f"{path}: t2d: says other tokens than d2t")
    return ids


def _told(what: str, names: dict[str, Any], others: dict[str, Any]) -> Iterator[str]:
    """Which of the names the others lack, as one text, if any."""
    if lacking := sorted(set(names) - set(others)):
        yield f"{what} tensors: {', '.join(lacking)}"


def _span(ids: Tensor) -> str:
    return f"{int(ids.min())}…{int(ids.max())}" if len(ids) else "none"
