"""One batch of sequences being decoded: the target, its cache, and the only code that writes to it."""

from collections.abc import Hashable

import torch
from torch import Tensor

from selfdraft.decoding.prefill import Prefill, cache_for
from selfdraft.decoding.upload import uploaded
from selfdraft.models.cache import KVCache, Step
from selfdraft.models.graphs import StepFunction
from selfdraft.models.llama import Llama


class Session:
    """Verified tokens, the pending token of each row, and the shared cache.

    Between cycles the cache holds every verified token but the pending one (the newest, whose hidden
    state nobody has computed yet). `depth` is the number of layers that drafts share with the
    verification: what they compute there is kept and reused.
    """

    def __init__(
        self, target: Llama, prompts: list[list[int]], room: int, depth: int, prefill: Prefill | None = None
    ) -> None:
        """Read all prompts but their last tokens; `room` more tokens must fit behind the longest.

        With `prefill`, which has read these prompts and kept the states at `depth`, that is done already.
        """
        prefill = Prefill(target, prompts, room, (depth,)) if prefill is None else prefill
        prefill.check()
        if target.replays is not None:
            target.replays.take(self)
        self.target, self.depth, self.cache = target, depth, prefill.cache
        self.text = [list(prompt) for prompt in prefill.prompts]  # verified tokens, the pending one included
        self.lengths = [len(prompt) - 1 for prompt in self.text]  # tokens in the cache
        self.pending = uploaded([prompt[-1:] for prompt in self.text], target.device)
        self.bytes_read = 0
        self.waits = 0  # times that the host waited for the device since the prefill
        self.captures = 0  # steps that were captured since the prefill
        self.prompt_hidden: Tensor | None = prefill.hidden[depth]  # [batch, longest - 1, hidden] at `depth`
        self.decided: list[tuple[int, int]] = []  # (drafted, accepted) of each unfinished row's last cycle
        self.drafter_has_cache = False  # set by a drafter that must catch up, see `behind`
        self._trail: list[tuple[Tensor, Tensor]] = []  # (states, accepted) of the cycles since the last draft
        self._drafted: list[Tensor] = []  # hidden states at `depth` of pending and drafted tokens
        self._layer_bytes = target.layer_bytes()
        # The same as `lengths`, where captured steps read them: moved on the device, so that nobody waits.
        self._places = uploaded(self.lengths, target.device)
        self._moving = [True] * len(self.text)
        self._moves = uploaded([1] * len(self.text), target.device)

    @property
    def batch(self) -> int:
        return len(self.lengths)

    @property
    def behind(self) -> int:
        """How many of the tokens right before the pending one a drafter's own cache may lack.

        One for each cycle since it drafted: the last token of a draft that was accepted whole, and the
        tokens of cycles without a draft. 0 in the first cycle.
        """
        return len(self._trail)

    def last_hidden(self) -> list[Tensor]:
        """The states at `depth` of those tokens, `behind` times `[batch, 1, hidden]`."""
        rows = torch.arange(self.batch, device=self.pending.device)
        return [shared[rows, accepted].unsqueeze(1) for shared, accepted in self._trail]

    def caught_up(self) -> None:
        """A drafter has taken its own cache up to the pending token."""
        self._trail.clear()

    def shallow(self, tokens: Tensor) -> Tensor:
        """Run the shared layers on the next token of each row `[batch, 1]`; returns depth `depth`.

        The first call of a cycle takes the pending token, each further one a drafted token.
        """
        hidden = self._shallow(tokens, offset=len(self._drafted))
        self._drafted.append(hidden)
        return hidden

    def verify(self, tokens: Tensor) -> Tensor:
        """Logits `[batch, gamma + 1, vocab]` after the pending and each drafted token `[batch, gamma]`.

        Layers below `depth` run only on tokens that no draft has taken through them.
        """
        done = len(self._drafted)
        rest = torch.cat((self.pending, tokens), dim=1)[:, done:]
        if rest.shape[1]:
            self._drafted.append(self._shallow(rest, offset=done))
        shared = torch.cat(self._drafted, dim=1)
        self._drafted = [shared]
        target, cache, depth = self.target, self.cache, self.depth

        def deep(hidden: Tensor, step: Step) -> Tensor:
            return target.logits(target.run(hidden, depth, target.config.n_layers, step, cache))

        self._count(target.config.n_layers - depth, shared.shape[1], offset=0)
        self.bytes_read += target.head.bytes
        return self.step(target, ("deep", depth), "session", deep, shared, 0, cache)

    def new_cache(self, model: Llama, name: Hashable, batch: int, capacity: int, layers: int | None = None) -> KVCache:
        """A KV cache for this session; with captured steps the one that they write to, by its name."""
        return cache_for(self, model, name, batch, capacity, layers)

    def step(
        self,
        model: Llama,
        name: Hashable,
        cache_name: Hashable,
        function: StepFunction,
        x: Tensor,
        offset: int,
        cache: KVCache,
    ) -> Tensor:
        """`function(x, step)` for tokens or states `x [batch, tokens, …]`; replayed where captured.

        They stand from `offset` behind each row's pending token on, and never before the first token (only a row
        that ended early has so little before it; what is computed there is filler). `name` says what the
        function is, `cache_name` which of `new_cache`'s it writes to.
        """
        starts = [max(0, length + offset) for length in self.lengths]
        if model.replays is None:
            return function(x, model.step(starts, x.shape[1], cache.capacity))
        before = model.replays.captures
        places = (self._places + offset).clamp_(min=0)
        result = model.replays.run(self, name, cache_name, function, x, places, max(starts) + x.shape[1])
        self.captures += model.replays.captures - before
        return result

    def commit(self, accepted: Tensor, next_token: Tensor, new: list[list[int]]) -> None:
        """Append `new[row]`, the cycle's verified tokens (none for a finished row); the last is pending.

        Everything behind them is rolled back by not being counted.
        """
        (shared,) = self._drafted
        if self.drafter_has_cache:
            self._trail.append((shared, accepted))
        self.pending = next_token
        moving = [bool(tokens) for tokens in new]
        if moving != self._moving:
            self._moving, self._moves = moving, uploaded([int(moves) for moves in moving], next_token.device)
        self._places = self._places + (accepted + 1) * self._moves
        for row, tokens in enumerate(new):
            self.text[row] += tokens
            self.lengths[row] += len(tokens)
        self._drafted = []

    def _shallow(self, tokens: Tensor, offset: int) -> Tensor:
        """Embedding and shared layers of tokens `[batch, tokens]`, `offset` behind each row's pending one."""
        target, cache, depth = self.target, self.cache, self.depth
        if depth == 0:
            return target.embed(tokens)

        def shallow(tokens: Tensor, step: Step) -> Tensor:
            return target.run(target.embed(tokens), 0, depth, step, cache)

        self._count(depth, tokens.shape[1], offset)
        return self.step(target, ("shallow", depth), "session", shallow, tokens, offset, cache)

    def _count(self, layers: int, tokens: int, offset: int) -> None:
        """Add the bytes that `layers` layers read for `tokens` new tokens a row: weights, and the filled cache."""
        filled = sum(self.lengths) + (offset + tokens) * self.batch
        self.bytes_read += layers * (self._layer_bytes + self.cache.bytes_per_token * filled)
