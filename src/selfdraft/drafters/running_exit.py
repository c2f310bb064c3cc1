"""One of several exits while tokens leave at different depths: what its own KV cache lacks is run before it answers."""

import torch
from torch import Tensor

from selfdraft.decoding.outcome import Outcome
from selfdraft.decoding.session import Session
from selfdraft.drafters.catching_up import SeenStates
from selfdraft.models.cache import KVCache, Step
from selfdraft.models.exit import Exit
from selfdraft.models.llama import Llama


class RunningExit:
    """An exit that is asked for some tokens and not for others.

    One whose body attends has a cache of its own (`attends`), and needs its depth among the session's: before it
    answers it runs the verified tokens that the cache lacks, and the cycle's tokens that left before they came here.
    With `shadow` it needs its depth there too: it can then be asked what it would have said (`shadows`).
    """

    def __init__(self, target: Llama, exit_: Exit, shadow: bool = False) -> None:
        self.target, self.exit, self.depth, self.shadow = target, exit_, exit_.depth, shadow
        self.attends = exit_.cache_layers > 0
        self.bytes = exit_.step_bytes()
        self._cache: KVCache | None = None
        self._seen: SeenStates | None = None
        self._missing: list[int] = []  # of each row, verified tokens right before the pending one
        self._ran = 0  # of the cycle's tokens, the pending one included

    def start(self, session: Session) -> None:
        """Run the prompts."""
        if not self.attends and not self.shadow:
            return
        self._missing, self._ran, self._seen = [0] * session.batch, 0, SeenStates(session, self.depth)
        if not self.attends:
            return
        capacity = session.cache.capacity
        self._cache = session.new_cache(self.target, self.exit, session.batch, capacity, self.exit.cache_layers)
        if session.prompt_features:
            prompt = session.prompt_features[self.depth]
            self.exit(prompt, self.target.step([0] * session.batch, prompt.shape[1], capacity), self._cache)

    def logits(self, session: Session, hidden: Tensor, position: int) -> Tensor:
        """Logits `[batch, vocab]` after the cycle's token number `position`; its state is `hidden [batch, 1, hidden]`.

        All tokens before it must have come as deep (see `Session.deepen`).
        """
        exit_, cache = self.exit, self._cache
        session.bytes_read += self.bytes
        if cache is None or self._seen is None:
            return exit_.head(exit_(hidden, None)[:, -1])

        def states_alone(hidden: Tensor, step: Step) -> Tensor:
            return exit_(hidden, step, cache)

        def logits(hidden: Tensor, step: Step) -> Tensor:
            return exit_.head(exit_(hidden, step, cache)[:, -1])

        states, offset = session.reached(self.depth)[:, self._ran : position + 1], self._ran
        back = max(self._missing) if self._ran == 0 else 0
        if back:
            verified = self._seen.read([max(0, length - back) for length in session.lengths], back)
            if back <= min(session.lengths):
                states, offset = torch.cat((verified, states), dim=1), -back
            else:  # a short row's states are followed by filler, which the pending token overwrites
                session.step(self.target, (exit_, "states"), exit_, states_alone, verified, -back, cache)
        self._ran = position + 1
        return session.step(self.target, exit_, exit_, logits, states, offset, cache)

    def shadows(self, session: Session, count: int) -> Tensor | None:
        """What the head would have read after each of the last `count` verified tokens before the pending one.

        States behind the norm `[batch, count, hidden]`, between two cycles; None where a row has too few tokens. An own
        cache lacks nothing afterwards.
        """
        exit_, cache, seen = self.exit, self._cache, self._seen
        assert seen is not None, "a head that is asked for shadows is made with `shadow`"
        back = max(count, *self._missing)
        if back > min(session.lengths):
            return None
        states = seen.read([length - back for length in session.lengths], back)
        if cache is None:
            return exit_(states, None)[:, -count:]

        def states_alone(hidden: Tensor, step: Step) -> Tensor:
            return exit_(hidden, step, cache)

        self._missing = [0] * session.batch
        return session.step(self.target, (exit_, "states"), exit_, states_alone, states, -back, cache)[:, -count:]

    def observe(self, outcome: Outcome) -> None:
        """Note what the cache lacks of the cycle's verified tokens."""
        if self._seen is None:
            return
        before = [0] * len(self._missing) if self._ran else self._missing
        self._missing = [
            missing + max(0, len(tokens) - self._ran) for missing, tokens in zip(before, outcome.tokens, strict=True)
        ]
        self._ran = 0
        self._seen.observe(outcome)
