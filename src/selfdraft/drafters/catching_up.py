"""What a drafter with a KV cache of its own runs before it drafts: the verified tokens that the cache lacks."""

import torch
from torch import Tensor

from selfdraft.decoding.outcome import Outcome
from selfdraft.decoding.session import Session
from selfdraft.decoding.upload import uploaded


class Behind:
    """How many of the tokens right before the pending one the cache may lack, whoever drafted them.

    Of a draft of its own the drafter has run all tokens but the last. What others drafted, or what was
    verified without a draft, it has not run at all.
    """

    def __init__(self) -> None:
        self.tokens, self._ran = 0, False

    def catch_up(self) -> int:
        """The drafter drafts now, and runs that many tokens before the pending one again."""
        tokens, self.tokens, self._ran = self.tokens, 0, True
        return tokens

    def observe(self, outcome: Outcome) -> None:
        """Count what the cache does not have of the cycle."""
        self.tokens += 1 if self._ran else outcome.longest + 1
        self._ran = False


class SeenStates:
    """The target's states of all verified tokens at one depth, a token's slot being its position."""

    def __init__(self, session: Session, depth: int) -> None:
        self.depth = depth
        self.states = torch.zeros(  # filler that nobody may see must still be a number
            (session.batch, session.cache.capacity, session.target.config.hidden_size),
            dtype=session.target.dtype,
            device=session.target.device,
        )
        if session.prompt_features:
            prompt = session.prompt_features[depth]
            self.states[:, : prompt.shape[1]] = prompt

    def observe(self, outcome: Outcome) -> None:
        """Take in a cycle's states. What is not verified of them is overwritten by the next cycle."""
        found = outcome.features[self.depth]
        if len(set(outcome.starts)) == 1:
            self.states[:, outcome.starts[0] : outcome.starts[0] + found.shape[1]] = found
        else:
            self.states[self._places(outcome.starts, found.shape[1])] = found

    def read(self, starts: list[int], count: int) -> Tensor:
        """`count` states of each row from its start on, `[batch, count, hidden]`."""
        if len(set(starts)) == 1:
            return self.states[:, starts[0] : starts[0] + count]
        return self.states[self._places(starts, count)]

    def _places(self, starts: list[int], count: int) -> tuple[Tensor, Tensor]:
        device = self.states.device
        rows = torch.arange(len(starts), device=device).unsqueeze(1)
        return rows, uploaded(starts, device).unsqueeze(1) + torch.arange(count, device=device)
