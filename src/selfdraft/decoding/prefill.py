"""A text in the target's KV cache, computed once: where one generation or many of them start."""

from collections.abc import Collection, Hashable

import torch
from torch import Tensor

from selfdraft.decoding.clock import now
from selfdraft.errors import StudyError
from selfdraft.models.cache import KVCache
from selfdraft.models.llama import Llama

TOKENS = 2048  # of a batch that are read at once, filler too: enough rows for a matrix product


def cache_for(
    owner: object, model: Llama, name: Hashable, batch: int, capacity: int, layers: int | None = None
) -> KVCache:
    """A KV cache for `owner`; with captured steps the one that they write to, by its name."""
    if model.replays is None:
        return model.new_cache(batch, capacity, layers)
    model.replays.take(owner)
    return model.replays.cache(name, batch, capacity, layers)


class Prefill:
    """All tokens of each prompt but the last in a cache with room for more, and their states at some depths.

    A generation writes behind these tokens only, so that the next one may start from them again. `seconds` is
    what the prompts took.
    """

    def __init__(
        self, target: Llama, prompts: list[list[int]], room: int, depths: Collection[int], spare: int = 0
    ) -> None:
        """`room` more tokens must fit behind the longest prompt; there are `spare` slots more where the context
        has them. Raises StudyError if the tokens do not fit, or for an empty prompt."""
        for row, prompt in enumerate(prompts):
            if not prompt:
                raise StudyError(f"prompt {row}: empty; at least one token is needed")
        longest = max(len(prompt) for prompt in prompts)
        if longest + room > target.config.max_positions:
            raise StudyError(
                f"prompt of {longest} tokens and {room} more do not fit into the target's context of "
                f"{target.config.max_positions}"
            )
        begin = now(target.device)
        self.target, self.prompts = target, [list(prompt) for prompt in prompts]
        capacity = min(longest + room + spare, target.config.max_positions)
        self.cache = cache_for(self, target, "session", len(prompts), capacity)
        self.reach = longest + room
        target.reach(self.reach)
        if target.replays is not None:
            target.replays.filled = self
        self.hidden: dict[int, Tensor | None] = dict.fromkeys(depths)  # [batch, longest - 1, hidden] at a depth
        if longest > 1 and target.replays is None:
            self._read(longest - 1)
        elif longest > 1:
            self.hidden |= self._run([prompt[:-1] + [0] * (longest - len(prompt)) for prompt in prompts], 0, self.cache)
        self.seconds = now(target.device) - begin

    @torch.inference_mode()
    def extend(self, tokens: list[int]) -> None:
        """Append tokens to the one prompt; the last of them becomes the pending one."""
        assert len(self.prompts) == 1, "one prompt alone can be continued"
        self.check()
        (prompt,) = self.prompts
        for depth, states in self._run([[prompt[-1], *tokens[:-1]]], len(prompt) - 1, self.cache).items():
            before = self.hidden[depth]
            self.hidden[depth] = states if before is None else torch.cat((before, states), dim=1)
        prompt += tokens

    def check(self) -> None:
        """Raise StudyError if another text has been written over this one."""
        if self.target.replays is not None and self.target.replays.filled is not self:
            raise StudyError("decoding: another text has been read into this target's cache; read this one again")

    @torch.inference_mode()
    def _read(self, longest: int) -> None:
        """Read the prompts, few rows at a time: those next to each other are often alike, and need less filler."""
        rows = max(1, TOKENS // longest)
        for begin in range(0, len(self.prompts), rows):
            part = slice(begin, begin + rows)
            texts = [prompt[:-1] for prompt in self.prompts[part]]
            width = max(map(len, texts))
            if width == 0:
                continue
            filled = [text + [0] * (width - len(text)) for text in texts]
            for depth, states in self._run(filled, 0, self.cache.of_rows(part)).items():
                whole = self.hidden[depth]
                if whole is None:
                    whole = self.hidden[depth] = states.new_zeros((len(self.prompts), longest, states.shape[-1]))
                whole[part, :width] = states

    @torch.inference_mode()
    def _run(self, rows: list[list[int]], start: int, cache: KVCache) -> dict[int, Tensor]:
        """Take tokens through all layers at the same positions in each row; returns their states at the depths."""
        target = self.target
        step = target.step([start] * len(rows), len(rows[0]), cache.capacity)
        hidden = target.embed(torch.tensor(rows, device=target.device))
        done, found = 0, {}
        for depth in sorted({*self.hidden, target.config.n_layers}):
            # The last layer's output is not needed, but its keys and values are.
            hidden = target.run(hidden, done, depth, step, cache)
            if depth in self.hidden:
                found[depth] = hidden
            done = depth
        return found
