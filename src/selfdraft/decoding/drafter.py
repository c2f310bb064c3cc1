"""What the loop asks of a drafter, and the early exit's answer."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from selfdraft.decoding.policy import Policy
from selfdraft.decoding.session import Session
from selfdraft.models.cache import KVCache
from selfdraft.models.exit import Exit
from selfdraft.models.llama import Llama


@dataclass
class Draft:
    """Proposed tokens int64 `[batch, gamma]`, and q float32 `[batch, gamma, vocab]` that they were drawn
    from; None if each was chosen deterministically."""

    tokens: Tensor
    q: Tensor | None


class Drafter(Protocol):
    """Proposes tokens; never writes to the target's cache but through the session."""

    depth: int  # target layers that drafting runs in the shared cache

    def start(self, session: Session) -> None:
        """Called once after the prefill."""

    def draft(self, session: Session, gamma: int, policy: Policy, generator: torch.Generator) -> Draft:
        """Propose `gamma` tokens that follow the pending ones."""


class ExitDrafter:
    """Drafts with an early exit of the target, one shallow step a token."""

    def __init__(self, target: Llama, exit_: Exit) -> None:
        self.target, self.exit, self.depth = target, exit_, exit_.depth
        self._cache: KVCache | None = None
        self._bytes = exit_.step_bytes()

    def start(self, session: Session) -> None:
        if self.exit.block is None:
            return
        self._cache = self.target.new_cache(session.batch, session.cache.capacity, layers=1)
        if session.prompt_hidden is not None:
            tokens = session.prompt_hidden.shape[1]
            step = self.target.step([0] * session.batch, tokens, self._cache.capacity)
            self.exit(session.prompt_hidden, step, self._cache)

    def draft(self, session: Session, gamma: int, policy: Policy, generator: torch.Generator) -> Draft:
        tokens: list[Tensor] = []
        drawn_from: list[Tensor] = []
        token = session.pending
        for position in range(gamma):
            hidden, back = session.shallow(token), 0
            if position == 0 and self.exit.block is not None and session.last_hidden is not None:
                # When all drafts were accepted, the last of them never went through the private block.
                hidden, back = torch.cat((session.last_hidden, hidden), dim=1), 1
            starts = [length + position - back for length in session.lengths]
            step = self.target.step(starts, 1 + back, session.cache.capacity)
            exit_hidden = self.exit(hidden, step, self._cache)[:, -1]
            session.bytes_read += self._bytes
            token, probabilities = policy.draw(self.exit.head(exit_hidden), generator)
            tokens.append(token)
            if probabilities is not None:
                drawn_from.append(probabilities)
        return Draft(torch.cat(tokens, dim=1), torch.stack(drawn_from, dim=1) if drawn_from else None)
