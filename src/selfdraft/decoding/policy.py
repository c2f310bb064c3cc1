"""A sampling policy: temperature, top-k and top-p turn logits into the distribution tokens are drawn from."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from selfdraft.settings.check import check
from selfdraft.settings.rules import section


@dataclass(frozen=True)
class Policy:
    """Warps in transformers' order: temperature, top-k, top-p. Temperature 0 is greedy, the warps' limit.

    top_k 0 and top_p 1 switch the warp off.
    """

    name: str
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0

    def __post_init__(self) -> None:
        made = {key: value for key, value in asdict(self).items() if key != "name"}
        check(made, section("policies"), "policies", self.name)

    @classmethod
    def from_settings(cls, name: str, settings: dict[str, Any]) -> "Policy":
        """From the config's `policies.NAME`; without a temperature it is greedy.

        Raises StudyError for an unknown key or a value out of range.
        """
        check({"temperature": 0.0, **settings}, section("policies"), "policies", name)
        return cls(name, **settings)

    @property
    def greedy(self) -> bool:
        return self.temperature < COLDEST

    def distribution(self, logits: Tensor) -> Tensor:
        """Probabilities, float32, of logits `[…, vocab]`; NaN where a row's logits hold NaN (see `nan_rows`)."""
        if self.greedy:
            return torch.zeros_like(logits, dtype=torch.float32).scatter_(-1, best_token(logits), 1.0)
        probabilities = torch.softmax(self._kept_logits(logits.float() / self.temperature), dim=-1)
        return self._nucleus(probabilities) if self.top_p < 1 else probabilities

    def draw(self, logits: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """One token per row of `[batch, vocab]`, and the distribution it came from (None: all mass on it)."""
        if self.greedy:
            return best_token(logits), None
        probabilities = self.distribution(logits)
        return sample(probabilities, generator), probabilities

    def _kept_logits(self, logits: Tensor) -> Tensor:
        if not 0 < self.top_k < logits.shape[-1]:
            return logits
        values, ids = logits.topk(self.top_k)
        return torch.full_like(logits, float("-inf")).scatter_(-1, ids, values)

    def _nucleus(self, probabilities: Tensor) -> Tensor:
        """Keep the smallest set of most probable tokens whose mass reaches top_p (Holtzman et al. 2020).

        Only as many tokens of a row are sorted as hold that mass: a full sort of a large vocabulary costs more
        than a model step, and few rows are flat.
        """
        rows = probabilities.flatten(0, -2)
        size = rows.shape[-1]
        count = size if probabilities.is_cuda else min(256, size)  # a GPU sorts faster than the host can look
        found, flat = self._most_probable(rows, count)
        places = flat
        while len(places):
            count = min(count * 8, size)
            found[places], flat = self._most_probable(rows[places], count)
            places = places[flat]
        return found.view_as(probabilities)

    def _most_probable(self, rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The nucleus of each row `[rows, vocab]` among its `count` best tokens; in which rows it is larger, int64."""
        values, ids = rows.topk(count)
        mass = values.cumsum(-1)
        kept = values * (mass - values < self.top_p)
        kept = kept / kept.sum(-1, keepdim=True)
        found = torch.zeros_like(rows).scatter_(-1, ids, kept)
        if count == rows.shape[-1]:
            return found, ids.new_empty(0)
        return found, (mass[:, -1] < self.top_p).nonzero().squeeze(1)


CHUNKS = 64
COLDEST = 1e-30  # below it logits / temperature overflow, and all mass is on the best token long before
NAN_LOGITS = "logits: NaN found; the weights or the dtype of the model are broken"


def nan_rows(logits: Tensor) -> Tensor:
    """Int64 `[batch, 1]`, 1 for a row of logits `[batch, …]` that holds NaN: the loop asks for it once a cycle.

    A draft from NaN logits is harmless, the target decides; NaN in the target's own must end the run.
    """
    return logits.flatten(1).amax(dim=1, keepdim=True).isnan().long()


def best_token(logits: Tensor) -> Tensor:
    """The argmax over the vocabulary, `[…, 1]`."""
    vocab = logits.shape[-1]
    if logits.is_cuda or vocab % CHUNKS:
        return logits.max(dim=-1, keepdim=True).indices
    # Where a row's maximum is known to lie, only that part is searched: a search costs four times a maximum.
    chunks = logits.unflatten(-1, (CHUNKS, vocab // CHUNKS))
    best = chunks.amax(dim=-1).max(dim=-1, keepdim=True).indices
    inside = torch.take_along_dim(chunks, best.unsqueeze(-1), dim=-2).max(dim=-1).indices
    return best * (vocab // CHUNKS) + inside


def sample(weights: Tensor, generator: torch.Generator) -> Tensor:
    """One index per row of `weights [batch, vocab]`, ∝ weight, `[batch, 1]`: inverse CDF in float64.

    Weights need not sum to one; an index of weight zero is never drawn.
    """
    cumulative = weights.double().cumsum(-1)
    total = cumulative[:, -1:].contiguous()
    uniform = torch.rand(total.shape, generator=generator, device=weights.device, dtype=torch.float64)
    drawn = torch.searchsorted(cumulative, uniform * total, right=True)
    # A weight of NaN has no order: any index will do, as long as it is one.
    return torch.minimum(drawn, torch.searchsorted(cumulative, total)).clamp_(max=weights.shape[-1] - 1)
