"""Drafting with a separate, smaller model that has the same vocabulary."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from selfdraft.decoding.drafter import Draft
from selfdraft.decoding.drafting import Drafting
from selfdraft.decoding.outcome import Outcome
from selfdraft.decoding.pace import Pace
from selfdraft.decoding.policy import Policy
from selfdraft.decoding.session import Session
from selfdraft.decoding.stopping import Stopping
from selfdraft.decoding.upload import uploaded
from selfdraft.drafters.catching_up import Behind
from selfdraft.drafters.token_by_token import draft_token_by_token
from selfdraft.errors import StudyError
from selfdraft.models.cache import KVCache, Step
from selfdraft.models.graphs import Replays
from selfdraft.models.linear import Linear
from selfdraft.models.llama import Llama, load_target
from selfdraft.models.vocabulary import check_same_tokens, checked_ids

SETTINGS = {"source": {"description": "Where the separate model comes from.", "$ref": "#/$defs/source"}}
REQUIRED = ("source",)


def build(
    name: str, settings: Mapping[str, Any], target: Llama, drafting: Drafting, kept_ids: Tensor | None
) -> "ModelDrafter":
    """See `drafter_of`; raises StudyError for a model of another vocabulary."""
    if target.folder is not None:
        check_same_tokens(target.folder, settings["folder"], f"drafters.{name}")
    model = load_target(settings["folder"], target.dtype, target.device)
    model.replays = None if target.replays is None else Replays(model)
    drafting.must_be_chain(f"drafters.{name}", "model")
    drafter = ModelDrafter(target, model, drafting.stopping(), drafting.adapt, kept_ids, drafting.verification_cost)
    model.pack()
    return drafter


class ModelDrafter:
    """Leviathan et al.'s setting: a draft model with its own KV cache, rolled back with the target's.

    `stopping`, `adapt`, `verification_cost` and `kept_ids` as for an exit; the model's own head is trimmed in a copy,
    before packing.
    """

    depths: tuple[int, ...] = ()
    learns = False

    def __init__(
        self,
        target: Llama,
        model: Llama,
        stopping: Stopping | None = None,
        adapt: bool = False,
        kept_ids: Tensor | None = None,
        verification_cost: float = 0.0,
    ) -> None:
        """Both models must share one tokenizer (see `check_same_tokens`); rows behind its last token, for padding,
        may be more in one than in the other: the draft model proposes what both have.
        """
        rows, wanted = model.config.vocab_size, target.config.vocab_size
        if kept_ids is None and rows != wanted:
            kept_ids = torch.arange(min(rows, wanted))
        elif kept_ids is not None:
            kept_ids = kept_ids[kept_ids < rows]
        self.model, self.head, self.kept_ids = model, model.head, None
        self.stopping = stopping if stopping is not None and stopping.active else None
        if kept_ids is not None:
            assert model.head.weight is not None, "trim before packing"
            self.kept_ids = checked_ids(kept_ids, model.config.vocab_size).to(model.device)
            self.head = Linear(model.head.weight.data[self.kept_ids])
            self.head.pack()
        self._bytes = model.config.n_layers * model.layer_bytes() + self.head.bytes
        self.pace = Pace(self._bytes / target.step_bytes(), verification_cost=verification_cost) if adapt else None
        self._cache: KVCache | None = None
        self._behind = Behind()
        self._decided: list[tuple[int, int]] = []

    def start(self, session: Session) -> None:
        self._behind, self._decided = Behind(), []
        needed, most = session.cache.capacity, self.model.config.max_positions
        if needed > most:
            raise StudyError(
                f"draft model: its context of {most} tokens is shorter than the {needed} of a prompt, its answer and a "
                "draft; shorten them, or take a draft model with a longer context"
            )
        self.model.reach(session.reach)
        self._cache = session.new_cache(self.model, "drafter", session.batch, session.cache.capacity)
        longest = max(map(len, session.text))
        if longest > 1:
            prompts = [text[:-1] + [0] * (longest - len(text)) for text in session.text]
            tokens = torch.tensor(prompts, device=self.model.device)
            self._states(tokens, self.model.step([0] * session.batch, longest - 1, self._cache.capacity))

    def draft(self, session: Session, gamma: int, policy: Policy, generator: torch.Generator) -> Draft:
        def next_logits(token: Tensor, position: int) -> Tensor:
            assert self._cache is not None
            back = self._behind.catch_up() if position == 0 else 0
            if back:
                texts = [text[max(0, len(text) - 1 - back) : -1] for text in session.text]
                before = uploaded([text + [0] * (back - len(text)) for text in texts], token.device)
                if back <= min(session.lengths):
                    token = torch.cat((before, token), dim=1)
                else:  # a short row's tokens are followed by filler, which the pending token overwrites
                    session.step(self.model, (self, "states"), "drafter", self._states, before, -back, self._cache)
                    back = 0
            session.bytes_read += self._bytes
            return session.step(self.model, self, "drafter", self._logits, token, position - back, self._cache)

        return draft_token_by_token(
            session, gamma, policy, generator, next_logits, self._decided, self.stopping, self.pace, self.kept_ids
        )

    def observe(self, outcome: Outcome) -> None:
        self._decided = outcome.decided
        self._behind.observe(outcome)

    def _states(self, tokens: Tensor, step: Step) -> Tensor:
        """Tokens `[batch, tokens]` through all layers."""
        tokens = tokens.clamp(max=self.model.config.vocab_size - 1)  # padding rows that only the target has
        return self.model.run(self.model.embed(tokens), 0, self.model.config.n_layers, step, self._cache)

    def _logits(self, tokens: Tensor, step: Step) -> Tensor:
        """The head's logits `[batch, kept]` after the last of the tokens."""
        return self.head(self.model.norm(self._states(tokens, step)[:, -1]))
