"""Drafting with an early exit of the target: one shallow step a token."""

import torch
from torch import Tensor

from selfdraft.decoding.drafter import Draft
from selfdraft.decoding.policy import Policy
from selfdraft.decoding.session import Session
from selfdraft.decoding.stopping import Stopping
from selfdraft.models.cache import KVCache
from selfdraft.models.exit import Exit
from selfdraft.models.llama import Llama


class ExitDrafter:
    """Runs the target's shared layers in the session's cache, then the exit's own norm, block and head.

    With an exit whose head was trimmed (`Exit.trim`) q is zero outside the kept vocabulary.
    """

    def __init__(self, target: Llama, exit_: Exit, stopping: Stopping | None = None) -> None:
        self.target, self.exit, self.depth = target, exit_, exit_.depth
        self.stopping = stopping if stopping is not None and stopping.active else None
        self._cache: KVCache | None = None
        self._bytes = exit_.step_bytes()

    def start(self, session: Session) -> None:
        if self.exit.block is None:
            return
        self._cache = self.target.new_cache(session.batch, session.cache.capacity, layers=1)
        if session.prompt_hidden is not None:
            tokens = session.prompt_hidden.shape[1]
            step = self.target.step([0] * session.batch, tokens, self._cache.capacity)
            self.exit.block(session.prompt_hidden, step, self._cache, 0)

    def draft(self, session: Session, gamma: int, policy: Policy, generator: torch.Generator) -> Draft:
        tokens: list[Tensor] = []
        drawn_from: list[Tensor] = []
        token = session.pending
        going = torch.ones(session.batch, dtype=torch.bool, device=token.device)
        lengths = torch.zeros(session.batch, dtype=torch.int64, device=token.device)
        for position in range(gamma):
            logits = self.exit.head(self._exit_hidden(session, session.shallow(token), position))
            session.bytes_read += self._bytes
            token, q = policy.draw(logits, generator)
            token, q = self.exit.to_target_vocabulary(token, q, self.target.config.vocab_size)
            tokens.append(token)
            if q is not None:
                drawn_from.append(q)
            if self.stopping is not None:
                lengths += going
                going &= ~self.stopping.unsure(logits)
                if not going.any():
                    break
        return Draft(
            torch.cat(tokens, dim=1),
            torch.stack(drawn_from, dim=1) if drawn_from else None,
            lengths if self.stopping is not None else None,
        )

    def _exit_hidden(self, session: Session, hidden: Tensor, position: int) -> Tensor:
        """From the shared layers' output `[batch, 1, hidden]` to what the head reads `[batch, hidden]`."""
        if self.exit.block is None:
            return self.exit.norm(hidden)[:, -1]
        back = 0
        if position == 0 and (before := session.last_hidden) is not None:
            # When all drafts were accepted, the last of them never went through the private block.
            hidden, back = torch.cat((before, hidden), dim=1), 1
        # Only a row that ended before its second token has nothing before it; what it computes is filler.
        starts = [max(0, length + position - back) for length in session.lengths]
        step = self.target.step(starts, 1 + back, session.cache.capacity)
        return self.exit.norm(self.exit.block(hidden, step, self._cache, 0)[:, -1])
