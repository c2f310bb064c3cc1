"""EAGLE-3: a layer of its own over the target's states after a few layers, trained to continue from its own output."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from selfdraft.decoding.drafter import Draft
from selfdraft.decoding.drafting import Drafting, Tree
from selfdraft.decoding.outcome import Outcome
from selfdraft.decoding.pace import Pace
from selfdraft.decoding.policy import Policy
from selfdraft.decoding.session import Session
from selfdraft.decoding.stopping import Stopping
from selfdraft.decoding.upload import uploaded
from selfdraft.drafters.catching_up import SeenStates
from selfdraft.drafters.token_by_token import draft_token_by_token
from selfdraft.drafters.tree_by_level import draft_tree
from selfdraft.models.cache import KVCache, Step
from selfdraft.models.eagle3 import Eagle3, load_eagle3
from selfdraft.models.llama import Llama

TRAINED = True
TREES = True
SETTINGS = {
    "features": {
        "description": "Depths of the target whose states are fused, ascending (EAGLE-3: 2, n/2, n - 3 of n layers).",
        "type": "array",
        "minItems": 1,
        "items": {"type": "integer", "minimum": 0},
    },
    "vocabulary": {
        "description": "Drafts the most frequent tokens of the training split, this many.",
        "type": "integer",
        "minimum": 1,
        "default": 8192,
    },
    "fc_norm": {
        "description": "EAGLE-3.1: a norm of each feature before the fusion.",
        "type": "boolean",
        "default": True,
    },
    "norm_output": {
        "description": "EAGLE-3.1: the next step reads the normed state.",
        "type": "boolean",
        "default": False,
    },
    "bias_rank": {
        "description": "Rank of a bias of the logits by the token before; 0: none.",
        "type": "integer",
        "minimum": 0,
        "default": 0,
    },
    "confidence": {
        "description": "A head that predicts how likely a token is accepted, for drafts that end early.",
        "type": "boolean",
        "default": False,
    },
    "answers": {
        "description": "original: trained on the data's answers; regenerated: on the target's own (section answers).",
        "enum": ["original", "regenerated"],
        "default": "original",
    },
    "initial": {
        "description": "Another entry of this layout, of kind eagle3 or trained_elsewhere, whose training it goes on "
        "from (none: see training.start).",
        "type": "string",
        "default": "",
    },
    "training": {
        "description": "How it is trained, on the captured states of the training split.",
        "type": "object",
        "default": {},
        "additionalProperties": False,
        "properties": {
            "start": {
                "description": "regression: fusion and attention by least squares; last_layer: as the target has them.",
                "enum": ["regression", "last_layer"],
            },
            "ttt_length": {
                "description": "Steps on its own states that it is trained for (4).",
                "type": "integer",
                "minimum": 1,
            },
            "step_decay": {
                "description": "Weight of a step's loss over that of the one before (0.8).",
                "type": "number",
                "exclusiveMinimum": 0,
            },
            "step_share": {
                "description": "Share of a step's labels that the step after it learns from too, in (0, 1]: less costs "
                "less (1).",
                "type": "number",
                "exclusiveMinimum": 0,
                "maximum": 1,
            },
            "loss": {
                "description": "kl: of the teacher restricted to the draft vocabulary; tv: total variation; lk: both, "
                "the KL weighted by exp(-3 * overlap).",
                "enum": ["kl", "tv", "lk"],
            },
            "epochs": {"description": "Passes over the text (1).", "type": "integer", "minimum": 1},
            "tokens_per_step": {
                "description": "Answer tokens of a step, at least (128).",
                "type": "integer",
                "minimum": 1,
            },
            "learning_rate": {
                "description": "Peak learning rates of the parts.",
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "norm": {"description": "Of all norms.", "$ref": "#/$defs/learning_rate"},
                    "fc": {"description": "Of the fusion.", "$ref": "#/$defs/learning_rate"},
                    "layer": {"description": "Of the layer.", "$ref": "#/$defs/learning_rate"},
                    "head": {"description": "Of the head.", "$ref": "#/$defs/learning_rate"},
                    "bias": {"description": "Of the bias.", "$ref": "#/$defs/learning_rate"},
                    "confidence": {"description": "Of the confidence.", "$ref": "#/$defs/learning_rate"},
                },
            },
            "warmup_fraction": {
                "description": "Share of the steps in which the rates rise (0.05).",
                "type": "number",
                "minimum": 0,
                "maximum": 1,
            },
            "weight_decay": {"description": "AdamW's (0).", "type": "number", "minimum": 0},
            "gradient_clip": {
                "description": "Largest norm of a gradient (1).",
                "type": "number",
                "exclusiveMinimum": 0,
            },
            "evaluations": {
                "description": "How often the validation text is looked at (6).",
                "type": "integer",
                "minimum": 1,
            },
            "dtype": {"description": "Of the products (auto).", "enum": ["auto", "bfloat16", "float32"]},
            "seed": {"description": "Of the order of the text (0).", "type": "integer", "minimum": 0},
        },
    },
}
REQUIRED = ("features",)


def build(
    name: str, settings: Mapping[str, Any], target: Llama, drafting: Drafting, kept_ids: Tensor | None
) -> "Eagle3Drafter":
    """See `drafter_of`; raises StudyError as `load_eagle3`."""
    draft, _ = load_eagle3(settings["folder"], target)
    if kept_ids is not None:
        draft.trim(kept_ids)
    return Eagle3Drafter(
        target,
        draft.pack(),
        drafting.stopping(),
        drafting.adapt,
        drafting.tree,
        drafting.never_ends,
        drafting.verification_cost,
    )


class Eagle3Drafter:
    """Keeps a KV cache of its own, whose slot t is the pair of token t's features and token t + 1.

    The first step of a draft runs the pairs that the last verifications have made known, with the target's own
    features; each further step the token just drafted, with the layer's output before it, or the tokens of a tree's
    level that are continued, which take slots behind each other and see their ancestors. A row whose prompt is a
    single token has no pair before its first verification: nothing is drafted then.
    """

    learns = False
    rows_apart = True  # a row's draft may be replaced by another: what was drafted is run again where it was accepted

    def __init__(
        self,
        target: Llama,
        draft: Eagle3,
        stopping: Stopping | None = None,
        adapt: bool = False,
        tree: Tree | None = None,
        never_ends: bool = False,
        verification_cost: float = 0.0,
    ) -> None:
        """`stopping`, `adapt` and `verification_cost` as for an exit, but that a confidence head, if there is one, says
        how sure a token is; with `tree` it drafts trees, without the others, and that head weighs their branches. With
        `never_ends` an adaptive draft has always gamma tokens. Raises StudyError for a tree that no context of the
        target holds.
        """
        if tree is not None:
            tree.check_room(target.config.max_positions)
        self.target, self.model, self.tree = target, draft, tree
        self.depths: tuple[int, ...] = draft.features
        self.stopping = stopping if stopping is not None and stopping.active else None
        self._bytes, self._fusion = draft.step_bytes(), draft.fc.bytes
        # Of steps that cost nothing as many as there may be are drafted.
        cost = 0.0 if never_ends else self._bytes / target.step_bytes()
        self.pace = Pace(cost, verification_cost=verification_cost) if adapt or never_ends else None
        self._cache: KVCache | None = None
        self._seen: list[SeenStates] = []
        # Pairs before the pending token that the cache has not of the target's features; at first the last of the
        # prompt's, whose output nobody kept.
        self._lacking = 1
        self._state: Tensor | None = None  # [batch, 1, hidden]: the layer's last output, for the next step
        self._decided: list[tuple[int, int]] = []
        asks = self.pace is not None or (self.stopping is not None and self.stopping.min_confidence > 0)
        self._asked = draft.confidence if asks or tree is not None else None
        # That the token drawn from the last logits is accepted: [batch], or of a tree's level [batch, count].
        self._chance: Tensor | None = None

    def start(self, session: Session) -> None:
        self._decided, self._lacking = [], 1
        self._seen = [SeenStates(session, depth) for depth in self.depths]
        self._cache = session.new_cache(
            self.target, self.model, session.batch, session.cache.capacity, self.model.cache_layers
        )
        longest = max(session.lengths)
        if longest:
            texts = [text + [0] * (longest + 1 - len(text)) for text in session.text]
            following = torch.tensor(texts, device=self.target.device)[:, 1:]
            step = self.target.step([0] * session.batch, longest, self._cache.capacity)
            self._of_features(self._pairs(following, [0] * session.batch), step)

    def draft(self, session: Session, gamma: int, policy: Policy, generator: torch.Generator) -> Draft:
        if min(session.lengths) == 0:
            return Draft(session.pending[:, :0])

        if self.tree is not None:
            return self._tree(session, gamma, self.tree)

        def next_logits(token: Tensor, position: int) -> Tensor:
            output = self._next(session, token, position) if position else self._catch_up(session)
            self._state = self.model.handed_on(output)
            session.bytes_read += self._bytes + (0 if position else self._fusion)
            self._ask(output[:, 0])
            return self.model.logits(output, token)[:, 0]

        return draft_token_by_token(
            session,
            gamma,
            policy,
            generator,
            next_logits,
            self._decided,
            self.stopping,
            self.pace,
            self.model.kept_ids,
            None if self._asked is None else self._last_chance,
        )

    def _ask(self, output: Tensor) -> None:
        """Note how sure the tokens drawn from an output of the layer are, where somebody wants to know."""
        if self._asked is not None:
            self._chance = self._asked.chance(self.model.read(output))

    def _last_chance(self) -> Tensor:
        assert self._chance is not None
        return self._chance

    def _tree(self, session: Session, gamma: int, tree: Tree) -> Draft:
        output, cache = self._catch_up(session), self._cache
        assert cache is not None
        states = self.model.handed_on(output)
        session.bytes_read += self._bytes + self._fusion
        self._ask(output)

        def expand(tokens: Tensor, parents: Tensor, seen: Tensor, level: int) -> Tensor:
            nonlocal states
            rows = torch.arange(session.batch, device=tokens.device).unsqueeze(1)
            pairs = torch.cat((self.target.embed(tokens), states[rows, parents]), dim=-1)
            first = seen.shape[-1] - tokens.shape[1]
            depths = torch.full_like(tokens, level - first)
            name = self.model, "level"
            found = session.step(self.target, name, self.model, self._of_state, pairs, first, cache, seen, depths)
            states = self.model.handed_on(found)
            session.bytes_read += self._bytes
            self._ask(found)
            return self.model.logits(found, tokens)

        room = session.room
        logits = self.model.logits(output, session.pending)[:, 0]
        chance = None if self._asked is None else self._last_chance
        return draft_tree(logits, expand, gamma, tree, room, self.model.kept_ids, room + 1, chance)

    def observe(self, outcome: Outcome) -> None:
        self._decided = outcome.decided
        self._lacking += outcome.longest + 1
        for seen in self._seen:
            seen.observe(outcome)

    def _catch_up(self, session: Session) -> Tensor:
        """The layer's output for the last pair of each row, `[batch, 1, hidden]`: pairs that are lacking are run."""
        assert self._cache is not None
        back, self._lacking = min(self._lacking, max(session.lengths)), 0
        starts = [max(0, length - back) for length in session.lengths]
        texts = [text[start + 1 : start + 1 + back] for text, start in zip(session.text, starts, strict=True)]
        following = uploaded([text + [0] * (back - len(text)) for text in texts], session.pending.device)
        pairs = self._pairs(following, starts)
        name = self.model, "features"
        outputs = session.step(self.target, name, self.model, self._of_features, pairs, -back, self._cache)
        if back <= min(session.lengths):
            return outputs[:, -1:]
        last = uploaded([min(back, length) - 1 for length in session.lengths], outputs.device)  # filler stands behind
        return outputs[torch.arange(session.batch, device=outputs.device), last].unsqueeze(1)

    def _next(self, session: Session, token: Tensor, position: int) -> Tensor:
        """The layer's output `[batch, 1, hidden]` for the token drafted last."""
        assert self._cache is not None
        assert self._state is not None
        pair = torch.cat((self.target.embed(token), self._state), dim=-1)
        return session.step(self.target, self.model, self.model, self._of_state, pair, position - 1, self._cache)

    def _pairs(self, following: Tensor, starts: list[int]) -> Tensor:
        """[embedding ‖ features] of tokens `[batch, count]` and the positions before them, from `starts` on."""
        states = [seen.read(starts, following.shape[1]) for seen in self._seen]
        return torch.cat((self.target.embed(following), *states), dim=-1)

    def _of_features(self, pairs: Tensor, step: Step) -> Tensor:
        embedding, features = pairs.split((self._hidden, pairs.shape[-1] - self._hidden), dim=-1)
        return self.model.midlayer(embedding, self.model.fuse(features), step, self._cache)

    def _of_state(self, pair: Tensor, step: Step) -> Tensor:
        embedding, state = pair.split(self._hidden, dim=-1)
        return self.model.midlayer(embedding, state, step, self._cache)

    @property
    def _hidden(self) -> int:
        return self.target.config.hidden_size
