"""Share `shared`: adapters on all of the target's layers, which are the verifier's own, and how far that moves it."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from selfdraft.errors import StudyError
from selfdraft.files import read_json, saving_tensors, write_json
from selfdraft.models.linear import Linear
from selfdraft.models.llama import Block, Llama, parted
from selfdraft.models.lora import LoraLayers, parts_of
from selfdraft.models.weights import read_tensors
from selfdraft.sequences import Sequences

TARGET_FILES = (  # what `selfdraft target` writes beside the weights
    *("config.json", "tokenizer.json", "tokenizer_config.json"),
    *("chat_template.jinja", "generation_config.json", "source.json"),
)


class SharedVerifier:
    """The verifier while its layers learn: `shallow` are those that the draft runs too, `deep` those behind them.

    Both train on copies of the layers, as they were before; `publish` puts them, merged, into the target itself. So
    the base model is kept, and runs where the adapters are left out.
    """

    def __init__(self, target: Llama, head: Linear, shallow: LoraLayers, rank: int, seed: int) -> None:
        """Before the target is packed. Raises StudyError if `shallow` are all of its layers."""
        self.target, self.head, self.shallow, self.first = target, head, shallow, shallow.cache_layers
        if self.first == target.config.n_layers:
            raise StudyError(
                f"--exit-layer: {self.first - 1} is the last layer; share shared needs layers behind the exit"
            )
        blocks = []
        for block in target.layers[self.first :]:
            assert isinstance(block, Block)
            tensors = {name: tensor.detach().clone() for name, tensor in block.named_tensors().items()}
            blocks.append(Block(target.config, tensors))
        self.deep = LoraLayers(blocks, rank, seed).to(target.device)
        for tensor in self.adapters():
            tensor.data = tensor.data.float()

    def adapters(self) -> list[nn.Parameter]:
        """What the slow loss trains: those of `deep`, in float32."""
        return [tensor for name, tensor in self.deep.named_parameters() if ".lora_" in name]

    @torch.no_grad()
    def publish(self, deep: bool = True) -> None:
        """The target is what has been learnt from now on; without `deep`, that has learnt nothing since.

        A KV cache of before is of another model.
        """
        self.shallow.merge_into(list(self.target.layers[: self.first]))
        if deep:
            self.deep.merge_into(list(self.target.layers[self.first :]))

    def logits_in(self, text: Sequence[int], positions: Tensor) -> Tensor:
        """The verifier's logits `[records, vocab]` at positions of a text; their gradient reaches `deep` alone."""
        tokens = torch.tensor([text], device=self.target.device)
        step = self.target.step([0], len(text))
        with torch.no_grad():
            hidden = self.shallow(self.target.embed(tokens), step)
        hidden = self.deep(hidden, step)[0, positions.to(hidden.device)]
        return self.head(self.target.norm(hidden))

    @torch.no_grad()
    def base_logits_in(self, text: Sequence[int], positions: Tensor) -> Tensor:
        """Those of the base model."""
        with self.shallow.unadapted(), self.deep.unadapted():
            return self.logits_in(text, positions)

    @torch.no_grad()
    def drift(self, texts: Sequences, count: int) -> dict[str, list[float]]:
        """Of each of the first `count` texts that have labels (all for 0): how many, Σ KL(p ‖ p₀) in nats, where p is
        the target as it serves and p₀ the base model, and Σ −log p(label)."""
        found: dict[str, list[float]] = {}
        for number, (begin, end) in enumerate(pairwise(texts.offsets.tolist())):
            places = torch.from_numpy(texts.mask[begin + 1 : end].nonzero()[0]).to(self.target.device)
            if not len(places) or (count and len(found) == count):
                continue
            text = texts.tokens[begin:end].tolist()
            labels = torch.tensor(text, device=self.target.device)[places + 1]
            tokens = torch.tensor([text], device=self.target.device)
            hidden = self.target.run(
                self.target.embed(tokens), 0, self.target.config.n_layers, self.target.step([0], len(text))
            )
            log_p = F.log_softmax(self.target.logits(hidden[0, places]).float(), dim=-1)
            log_base = F.log_softmax(self.base_logits_in(text, places).float(), dim=-1)
            kl = (log_p.exp() * (log_p - log_base)).sum().item()
            found[texts.ids[number]] = [len(places), kl, F.nll_loss(log_p, labels, reduction="sum").item()]
        return found

    def save_target(self, base: Path, folder: Path) -> None:
        """Write the adapted model as `selfdraft target` writes one; `base` is such a folder, of the base model.

        Matrices that were adapted are saved in the number format that they served in.
        """
        tensors, parts = read_tensors(base / "model.safetensors"), parts_of(self.target.config)
        for first, layers in ((0, self.shallow), (self.first, self.deep)):
            for place, name, weight, _ in layers.matrices():
                for part, tensor in parted(Linear(weight), *parts[name]).items():
                    tensors[f"model.layers.{first + place}.{part}"] = tensor.detach().cpu().contiguous()
        folder.mkdir()
        with saving_tensors(folder):
            save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        for name in TARGET_FILES:
            if (base / name).is_file():
                (folder / name).write_bytes((base / name).read_bytes())
        if (folder / "source.json").is_file():
            write_json(folder / "source.json", read_json(folder / "source.json") | {"adapted_by": "selfdraft dvi"})
