"""Drafting with an early exit of the target: one shallow step a token."""

from pathlib import Path
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
from selfdraft.drafters.catching_up import Behind, SeenStates
from selfdraft.drafters.token_by_token import draft_token_by_token
from selfdraft.models.cache import KVCache, Step
from selfdraft.models.exit import Exit, load_exit
from selfdraft.models.llama import Llama


def exit_drafter(
    folder: str | Path, target: Llama, drafting: Drafting, kept_ids: Tensor | None = None
) -> tuple["ExitDrafter", dict[str, Any]]:
    """The drafter of a checkpoint, packed, and the checkpoint's config. Call it before the target is packed.

    `kept_ids` is the draft vocabulary, for a way of drafting that has one. Raises StudyError as `load_exit`, and for a
    way that drafts trees.
    """
    drafting.must_be_chain(str(folder), "an exit")
    draft, config = load_exit(folder, target)
    if kept_ids is not None:
        draft.trim(kept_ids)
    made = ExitDrafter(target, draft.pack(), drafting.stopping(), drafting.adapt, drafting.verification_cost)
    return made, config


class ExitDrafter:
    """Runs the target's shared layers in the session's cache, then the exit's own body, norm and head.

    With an exit whose head was trimmed (`Exit.trim`) q is zero outside the kept vocabulary. `adapt`
    chooses each draft's length by `Pace`, which reckons with `verification_cost`.
    """

    learns = False

    def __init__(
        self,
        target: Llama,
        exit_: Exit,
        stopping: Stopping | None = None,
        adapt: bool = False,
        verification_cost: float = 0.0,
    ) -> None:
        self.target, self.exit, self.depth = target, exit_, exit_.depth
        self.depths: tuple[int, ...] = (exit_.depth,) if exit_.cache_layers else ()
        self.stopping = stopping if stopping is not None and stopping.active else None
        self._cache: KVCache | None = None
        self._seen: SeenStates | None = None
        self._behind = Behind()
        self._decided: list[tuple[int, int]] = []
        self._bytes = exit_.step_bytes()
        cost = (self.depth * target.layer_bytes() + self._bytes) / target.step_bytes()
        self.pace = Pace(cost, verification_cost=verification_cost) if adapt else None

    def start(self, session: Session) -> None:
        self._decided = []
        if self.exit.cache_layers == 0:
            return
        self._behind, self._seen = Behind(), SeenStates(session, self.depth)
        self._cache = session.new_cache(
            self.target, self.exit, session.batch, session.cache.capacity, self.exit.cache_layers
        )
        if session.prompt_features:
            prompt = session.prompt_features[self.depth]
            step = self.target.step([0] * session.batch, prompt.shape[1], self._cache.capacity)
            self.exit(prompt, step, self._cache)

    def draft(self, session: Session, gamma: int, policy: Policy, generator: torch.Generator) -> Draft:
        def next_logits(token: Tensor, position: int) -> Tensor:
            session.bytes_read += self._bytes
            return self._exit_logits(session, session.extend(token, self.depth), position)

        return draft_token_by_token(
            session, gamma, policy, generator, next_logits, self._decided, self.stopping, self.pace, self.exit.kept_ids
        )

    def forget(self) -> None:
        """The exit has changed, and with it all that its own cache holds: the next draft runs the whole text again."""
        self._behind.tokens = self.target.config.max_positions

    def observe(self, outcome: Outcome) -> None:
        self._decided = outcome.decided
        if self._seen is not None:
            self._behind.observe(outcome)
            self._seen.observe(outcome)

    def _exit_logits(self, session: Session, hidden: Tensor, position: int) -> Tensor:
        """From the shared layers' output `[batch, 1, hidden]` to logits `[batch, vocab]`."""
        exit_, cache = self.exit, self._cache
        if cache is None or self._seen is None:
            return exit_.head(exit_(hidden, None)[:, -1])

        def states_alone(hidden: Tensor, step: Step) -> Tensor:
            return exit_(hidden, step, cache)

        back = min(self._behind.catch_up(), max(session.lengths)) if position == 0 else 0
        if back:
            starts = [max(0, length - back) for length in session.lengths]
            states = self._seen.read(starts, back)
            if back <= min(session.lengths):
                hidden = torch.cat((states, hidden), dim=1)
            else:  # a short row's states are followed by filler, which the pending token overwrites
                session.step(self.target, (exit_, "states"), exit_, states_alone, states, -back, cache)
                back = 0

        def logits(hidden: Tensor, step: Step) -> Tensor:
            return exit_.head(exit_(hidden, step, cache)[:, -1])

        return session.step(self.target, exit_, exit_, logits, hidden, position - back, cache)
