"""Drafting with an early exit of the target: one shallow step a token."""

import torch
from torch import Tensor

from selfdraft.decoding.drafter import Draft
from selfdraft.decoding.pace import Pace
from selfdraft.decoding.policy import Policy
from selfdraft.decoding.session import Session
from selfdraft.decoding.stopping import Stopping
from selfdraft.decoding.token_by_token import draft_token_by_token
from selfdraft.models.cache import KVCache, Step
from selfdraft.models.exit import Exit
from selfdraft.models.llama import Llama


class ExitDrafter:
    """Runs the target's shared layers in the session's cache, then the exit's own body, norm and head.

    With an exit whose head was trimmed (`Exit.trim`) q is zero outside the kept vocabulary. `adapt`
    chooses each draft's length by `Pace`.
    """

    def __init__(self, target: Llama, exit_: Exit, stopping: Stopping | None = None, adapt: bool = False) -> None:
        self.target, self.exit, self.depth = target, exit_, exit_.depth
        self.stopping = stopping if stopping is not None and stopping.active else None
        self._cache: KVCache | None = None
        self._bytes = exit_.step_bytes()
        cost = (self.depth * target.layer_bytes() + self._bytes) / target.step_bytes()
        self.pace = Pace(cost) if adapt else None

    def start(self, session: Session) -> None:
        if self.exit.cache_layers == 0:
            return
        session.drafter_has_cache = True
        self._cache = session.new_cache(
            self.target, self.exit, session.batch, session.cache.capacity, self.exit.cache_layers
        )
        if session.prompt_hidden is not None:
            tokens = session.prompt_hidden.shape[1]
            step = self.target.step([0] * session.batch, tokens, self._cache.capacity)
            self.exit(session.prompt_hidden, step, self._cache)

    def draft(self, session: Session, gamma: int, policy: Policy, generator: torch.Generator) -> Draft:
        def next_logits(token: Tensor, position: int) -> Tensor:
            session.bytes_read += self._bytes
            return self._exit_logits(session, session.shallow(token), position)

        return draft_token_by_token(
            session, gamma, policy, generator, next_logits, self.stopping, self.pace, self.exit.kept_ids
        )

    def _exit_logits(self, session: Session, hidden: Tensor, position: int) -> Tensor:
        """From the shared layers' output `[batch, 1, hidden]` to logits `[batch, vocab]`."""
        exit_, cache = self.exit, self._cache
        if cache is None:
            return exit_.head(exit_(hidden, None)[:, -1])
        back = session.behind if position == 0 else 0
        if back:
            hidden = torch.cat((*session.last_hidden(), hidden), dim=1)
            session.caught_up()

        def logits(hidden: Tensor, step: Step) -> Tensor:
            return exit_.head(exit_(hidden, step, cache)[:, -1])

        return session.step(self.target, exit_, exit_, logits, hidden, position - back, cache)
