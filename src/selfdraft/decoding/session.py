"""One batch of sequences being decoded: the target, its cache, and the only code that writes to it."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from selfdraft.decoding.branches import sees
from selfdraft.decoding.prefill import Prefill, cache_for
from selfdraft.decoding.upload import uploaded
from selfdraft.errors import StudyError
from selfdraft.models.cache import KVCache, Step
from selfdraft.models.graphs import Output
from selfdraft.models.llama import Llama


@dataclass
class Part:
    """Neighbouring tokens of a draft that have gone equally deep: `states [batch, tokens, hidden]` at `depth`.

    None stands for states at depth 0 that are not embedded yet.
    """

    tokens: Tensor  # int64 [batch, tokens]
    depth: int = 0
    states: Tensor | None = None


class Session:
    """Verified tokens, the pending token of each row, and the shared cache.

    Between cycles the cache holds every verified token but the pending one (the newest, whose hidden
    state nobody has computed yet). Within a cycle the session holds the pending token and those drafted
    after it, and knows of each how deep the target's layers have gone for it: what drafts compute there the
    verification goes on from. No token is ever deeper than one before it, so that keys and values below a
    token are complete.
    """

    def __init__(
        self,
        target: Llama,
        prompts: list[list[int]],
        room: int,
        depths: Sequence[int] = (),
        prefill: Prefill | None = None,
        spare: int = 0,
    ) -> None:
        """Read all prompts but their last tokens; `room` more tokens must fit behind the longest, `spare` may.

        `depths` are those at which somebody wants the states of verified tokens (0 is the embedding). With
        `prefill`, which has read these prompts and kept these states, that is done already.
        """
        for depth in depths:
            if not 0 <= depth <= target.config.n_layers:
                raise StudyError(f"drafter: depth {depth} is not one of the target's (0…{target.config.n_layers})")
        self.target, self.depths = target, tuple(sorted(set(depths)))
        prefill = Prefill(target, prompts, room, self.depths, spare) if prefill is None else prefill
        prefill.check()
        self.reach = prefill.reach
        target.reach(self.reach)
        if target.replays is not None:
            target.replays.take(self)
        self.cache = prefill.cache
        self.text = [list(prompt) for prompt in prefill.prompts]  # verified tokens, the pending one included
        self.lengths = [len(prompt) - 1 for prompt in self.text]  # tokens in the cache
        self.pending = uploaded([prompt[-1:] for prompt in self.text], target.device)
        self.bytes_read = 0
        self.waits = 0  # times that the host waited for the device since the prefill
        self.captures = 0  # steps that were captured since the prefill
        # At `depths`, [batch, longest - 1, hidden]; none where all prompts are of one token.
        self.prompt_features = {depth: found for depth in self.depths if (found := prefill.hidden[depth]) is not None}
        self._parts: list[Part] = []  # the pending token and the drafted ones, deepest first
        self._features: dict[int, list[Tensor]] = {depth: [] for depth in self.depths}
        self._layer_bytes = target.layer_bytes()
        # The same as `lengths`, where captured steps read them: moved on the device, so that nobody waits.
        self._places = uploaded(self.lengths, target.device)
        self._moving = [True] * len(self.text)
        self._moves = uploaded([1] * len(self.text), target.device)

    @property
    def batch(self) -> int:
        return len(self.lengths)

    @property
    def room(self) -> int:
        """Drafted tokens that fit into the cache behind the pending one, in every row."""
        return self.cache.capacity - max(self.lengths) - 1

    def held(self) -> list[Tensor]:
        """The tokens whose states the session holds, `[batch, tokens]` each: the pending one, then drafted ones."""
        return [part.tokens for part in self._parts]

    def extend(self, tokens: Tensor, depth: int) -> Tensor:
        """Take the next tokens of the draft, `[batch, tokens]`, to `depth`; returns their states there.

        The first call of a cycle takes the pending token, each further one drafted tokens. Tokens before them
        that have not gone as deep go there first.
        """
        self._append(tokens)
        self._deepen(depth)
        return self._embedded(self._parts[-1])[:, -tokens.shape[1] :]

    def deepen(self, depth: int) -> Tensor:
        """Take all tokens held to `depth` that are not there yet, in one call for each range of layers.

        Returns the newest token's state where it is then, `[batch, 1, hidden]`.
        """
        self._deepen(depth)
        return self._embedded(self._parts[-1])[:, -1:]

    def reached(self, depth: int) -> Tensor:
        """The states at one of `depths` of this cycle's tokens that have gone so deep, `[batch, tokens, hidden]`."""
        return _joined(self._features[depth])

    def verify(self, tokens: Tensor, last: bool = False) -> Tensor:
        """Logits `[batch, gamma + 1, vocab]` after the pending and each drafted token `[batch, gamma]`.

        With `last` those after the last one alone, `[batch, 1, vocab]`: who verifies nothing needs no others.
        Layers run only on tokens that no draft has taken through them. Raises RuntimeError if the drafter has
        taken more tokens through layers than it proposes.
        """
        done, width = sum(part.tokens.shape[1] for part in self._parts), 1 + tokens.shape[1]
        if done > width:
            raise RuntimeError(f"drafter: it has run {done - 1} tokens through the target's layers, and proposes fewer")
        if done < width:
            self._append(torch.cat((self.pending, tokens), dim=1)[:, done:])
        level = self._parts[0].depth
        self._deepen(level)
        whole = self._merged(self._parts)
        self._parts = [whole]
        if level in self._features and whole.states is not None:
            self._features[level] = [whole.states]
        self.bytes_read += self.target.head.bytes
        return self._layers(whole, self.target.config.n_layers, 0, head=True, last=last)

    def verify_tree(self, tokens: Tensor, parents: Tensor) -> Tensor:
        """The same for drafted tokens `[batch, nodes]` that branch: each sees its ancestors, and stands behind them.

        Their slots follow each other whatever their places in the tree; `settle` brings the accepted ones together.
        Raises RuntimeError if the drafter has taken tokens through layers, StudyError if the tree is too large.
        """
        if self._parts:
            raise RuntimeError("drafter: it has run tokens through the target's layers, and proposes a tree")
        nodes = tokens.shape[1]
        if nodes > self.room:
            raise StudyError(f"drafter: a tree of {nodes} nodes, the KV cache has room for {self.room}")
        self._append(torch.cat((self.pending, tokens), dim=1))
        self.bytes_read += self.target.head.bytes
        (whole,) = self._parts
        return self._layers(whole, self.target.config.n_layers, 0, head=True, tree=sees(parents))

    def settle(self, path: list[list[int]], logits: Tensor) -> Tensor:
        """Move the states of a tree's accepted nodes, `path[row]` in ascending order, to the slots behind each other.

        Paths are of one length; a row's filler is moved too and stands behind what is verified. `logits` are those of
        `verify_tree`; returns the ones `[batch, length + 1, vocab]` of the pending token and of the path, `features`
        are theirs then.
        """
        count = len(path[0])
        places = uploaded([[0, *(node + 1 for node in nodes)] for nodes in path], logits.device)
        rows = torch.arange(self.batch, device=logits.device).unsqueeze(1)
        self._features = {depth: [_joined(found)[rows, places]] for depth, found in self._features.items()}
        if any(nodes != list(range(count)) for nodes in path):
            starts = uploaded(self.lengths, logits.device).unsqueeze(1)
            goals = starts + torch.arange(1, count + 1, device=logits.device)
            self.cache.move(starts + places[:, 1:], goals)
        return logits[rows, places]

    def features(self) -> dict[int, Tensor]:
        """The states of this cycle's tokens at `depths`, `[batch, gamma + 1, hidden]`, after `verify`."""
        return {depth: _joined(found) for depth, found in self._features.items()}

    def new_cache(self, model: Llama, name: Hashable, batch: int, capacity: int, layers: int | None = None) -> KVCache:
        """A KV cache for this session; with captured steps the one that they write to, by its name."""
        return cache_for(self, model, name, batch, capacity, layers)

    def step(
        self,
        model: Llama,
        name: Hashable,
        cache_name: Hashable,
        function: Callable[[Tensor, Step], Output],
        x: Tensor,
        offset: int,
        cache: KVCache,
        tree: Tensor | None = None,
        depths: Tensor | None = None,
    ) -> Output:
        """`function(x, step)` for tokens or states `x [batch, tokens, …]`; replayed where captured.

        It gives a tensor or several. Its tokens stand from `offset` behind each row's pending token on, and never
        before the first token (only a row that ended early has so little before it; what is computed there is
        filler). `name` says what the function is, `cache_name` which of `new_cache`'s it writes to. `tree` and
        `depths` are those of `Step`, of tokens that branch; such a step is never captured.
        """
        starts = [max(0, length + offset) for length in self.lengths]
        if model.replays is None or tree is not None:
            return function(x, model.step(starts, x.shape[1], cache.capacity, tree, depths))
        before = model.replays.captures
        places = (self._places + offset).clamp_(min=0)
        result = model.replays.run(self, name, cache_name, function, x, places, max(starts) + x.shape[1])
        self.captures += model.replays.captures - before
        return result

    def commit(self, accepted: Tensor, next_token: Tensor, new: list[list[int]]) -> None:
        """Append `new[row]`, the cycle's verified tokens (none for a finished row); the last is pending.

        Everything behind them is rolled back by not being counted.
        """
        self.pending = next_token
        moving = [bool(tokens) for tokens in new]
        if moving != self._moving:
            self._moving, self._moves = moving, uploaded([int(moves) for moves in moving], next_token.device)
        self._places = self._places + (accepted + 1) * self._moves
        for row, tokens in enumerate(new):
            self.text[row] += tokens
            self.lengths[row] += len(tokens)
        self._parts = []
        self._features = {depth: [] for depth in self.depths}

    @torch.inference_mode()
    def reread(self) -> None:
        """The target has changed, between two cycles: compute keys and values of all verified tokens anew."""
        longest = max(self.lengths)
        if not longest:
            return
        rows = [text[:-1] + [0] * (longest - len(text) + 1) for text in self.text]
        self.target.reach(self.reach)
        step = self.target.step([0] * self.batch, longest, self.cache.capacity)
        hidden = self.target.embed(uploaded(rows, self.target.device))
        self.target.run(hidden, 0, self.target.config.n_layers, step, self.cache)

    def _deepen(self, depth: int) -> None:
        """Take all tokens held to `depth` that are not there yet, deeper ones of them first."""
        parts = self._parts
        while (level := parts[-1].depth) < depth:
            first = next(at for at in range(len(parts)) if parts[at].depth == level)
            goal = min(depth, parts[first - 1].depth) if first else depth
            part = self._merged(parts[first:])
            offset = sum(p.tokens.shape[1] for p in parts[:first])
            part.states, part.depth = self._layers(part, goal, offset), goal
            parts[first:] = [part]

    def _append(self, tokens: Tensor) -> None:
        """More tokens of the draft, at depth 0."""
        self._parts.append(Part(tokens))
        if 0 in self._features:
            self._features[0].append(self._embedded(self._parts[-1]))

    def _embedded(self, part: Part) -> Tensor:
        """The states of a part."""
        if part.states is None:
            part.states = self.target.embed(part.tokens)
        return part.states

    def _merged(self, parts: list[Part]) -> Part:
        """Neighbours of one depth as one part; not embedded yet if none of them is."""
        if len(parts) == 1:
            return parts[0]
        known = any(part.states is not None for part in parts)
        states = _joined([self._embedded(part) for part in parts]) if known else None
        return Part(_joined([part.tokens for part in parts]), parts[0].depth, states)

    def _layers(
        self, part: Part, goal: int, offset: int, head: bool = False, tree: Tensor | None = None, last: bool = False
    ) -> Tensor:
        """Take a part, `offset` behind the pending token, to depth `goal`; with `head` to the logits, or the `last`.

        Its states at the `depths` on the way are kept. `tree`: which of its tokens sees which, if they branch.
        """
        target, cache, level, embedded = self.target, self.cache, part.depth, part.states is not None
        kept = [depth for depth in self.depths if level < depth <= goal]

        def layers(x: Tensor, step: Step) -> tuple[Tensor, ...]:
            hidden, found, below = x if embedded else target.embed(x), [], level
            for depth in kept:
                hidden, below = target.run(hidden, below, depth, step, cache), depth
                found.append(hidden)
            hidden = target.run(hidden, below, goal, step, cache)
            hidden = hidden[:, -1:] if last else hidden
            return *found, target.logits(hidden) if head else hidden

        x = part.tokens if part.states is None else part.states
        self._count(goal - level, x.shape[1], offset)
        name = ("layers", level, goal, embedded, head, last, *kept)
        levels = None if tree is None else tree.long().sum(-1) - 1
        *found, result = self.step(target, name, "session", layers, x, offset, cache, tree, levels)
        for depth, states in zip(kept, found, strict=True):
            self._features[depth].append(states)
        return result

    def _count(self, layers: int, tokens: int, offset: int) -> None:
        """Add the bytes that `layers` layers read for `tokens` new tokens a row: weights, and the filled cache."""
        filled = sum(self.lengths) + (offset + tokens) * self.batch
        self.bytes_read += layers * (self._layer_bytes + self.cache.bytes_per_token * filled)


def _joined(tensors: list[Tensor]) -> Tensor:
    """Side by side in the draft; one alone is not copied."""
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors, dim=1)
