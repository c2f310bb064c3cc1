"""Dynamic exits: before each draft head and length are chosen, from what all heads would have said."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from selfdraft.decoding.drafter import Draft
from selfdraft.decoding.drafting import Drafting
from selfdraft.decoding.outcome import Outcome
from selfdraft.decoding.pace import Pace
from selfdraft.decoding.policy import Policy, best_token
from selfdraft.decoding.session import Session
from selfdraft.decoding.stopping import Stopping
from selfdraft.decoding.upload import uploaded
from selfdraft.drafters.exits import folder_of_heads
from selfdraft.drafters.running_exit import RunningExit
from selfdraft.drafters.token_by_token import draft_token_by_token
from selfdraft.errors import StudyError
from selfdraft.models.exit import Exit
from selfdraft.models.exits import load_exits
from selfdraft.models.linear import Linear
from selfdraft.models.llama import Llama

HEADS = True  # tokens leave at several layers
SETTINGS = {
    "drafter": {
        "description": "Name of the entry of `drafters`, of kind exits, whose heads it chooses from.",
        "type": "string",
    },
    "look": {
        "description": "Most cycles between two looks at what all heads would have said; the first ones are closer "
        "(64).",
        "type": "integer",
        "minimum": 1,
    },
    "costs": {
        "description": "What a drafted token costs: by the bytes that it reads, alike in every run, or by the clock "
        "while decoding (bytes).",
        "enum": ["bytes", "clock"],
    },
}
REQUIRED = ("drafter",)
COSTS = ("bytes", "clock")
LOOK, FIRST, TOKENS = 64, 4, 4  # cycles at most between looks; before the first one; tokens of each row that it is of


def build(
    name: str, settings: Mapping[str, Any], target: Llama, drafting: Drafting, kept_ids: Tensor | None
) -> "DynamicDrafter":
    """See `drafter_of`; raises StudyError as `load_exits`, and for a setting or way of drafting that is not for it."""
    where = f"drafters.{name}"
    folder = folder_of_heads(where, settings["drafter"])
    look, costs = settings.get("look", LOOK), settings.get("costs", COSTS[0])
    if type(look) is not int or look < 1:
        raise StudyError(f"{where}.look: {look!r} is not an integer ≥ 1")
    if costs not in COSTS:
        raise StudyError(f"{where}.costs: {costs!r} is unknown; one of {', '.join(COSTS)} is right")
    drafting.must_be_chain(where, "dynamic")
    if drafting.adapt:
        raise StudyError(f"{where}: it chooses each draft's length itself: drafting {drafting.name} is not for it")
    exits, _ = load_exits(folder, target)
    if kept_ids is not None:
        for made in exits:
            made.trim(kept_ids)
    return DynamicDrafter(target, [made.pack() for made in exits], drafting.stopping(), look, costs == "clock")


class DynamicDrafter:
    """Before each cycle the head and draft length that the cost model of `Pace` expects to be fastest; perhaps none.

    Each head has a `Pace`, which counts how often its tokens are right. Of the head that drafts the verification says
    so; of the others the states of verified tokens at their depths do (DEL, Entezari Zarch et al. 2025): a look asks
    all heads what they would have said at the last tokens, which costs their LM heads and no layer. There are few
    looks: the first after `FIRST` cycles, then after twice as many each time, up to `look`. A token x that came
    out, with p(x) under the policy, counts min(1, q(x) / p(x)): its mean over x is Σ min(p, q), the chance that a draft
    of q is taken.

    The choice follows from tokens verified before (and with `clock` from how long they took), so that the output's
    distribution stays the target's. Rows of a batch share it.
    """

    learns = False

    def __init__(
        self,
        target: Llama,
        heads: Sequence[Exit],
        stopping: Stopping | None = None,
        look: int = LOOK,
        clock: bool = False,
    ) -> None:
        """`heads`: shallow ones first. `clock`: costs are measured while decoding, from those by bytes on."""
        assert heads, "without a head nothing is drafted"
        self.heads = [RunningExit(target, made, shadow=True) for made in heads]
        self.kept_ids = heads[0].kept_ids
        self.depths: tuple[int, ...] = tuple(sorted({head.depth for head in self.heads}))
        self.stopping, self.look, self.clock = stopping, look, clock
        step = target.step_bytes()
        self._costs = [(head.depth * target.layer_bytes() + head.bytes) / step for head in self.heads]
        self.left: dict[int, int] = {}  # drafted tokens by the layer of the head that drafted them, since the start
        self.paces: list[Pace] = []
        self._chosen: int | None = None
        self._policy: Policy | None = None
        self._alive: list[bool] = []
        self._chances: list[list[float]] = []  # of each row, p of its last verified tokens under the policy
        self._wait = self._every = FIRST
        self._looked, self._vanilla = False, 0.0

    def start(self, session: Session) -> None:
        # Nothing is known, and nothing drafted before the first look.
        self.paces = [Pace(cost, accepted=0.0, rejected=0.0) for cost in self._costs]
        self.left = {head.exit.layer: 0 for head in self.heads}
        self._chosen, self._policy, self._vanilla = None, None, 0.0
        self._alive, self._chances = [True] * session.batch, [[] for _ in range(session.batch)]
        self._wait = self._every = min(FIRST, self.look)
        for head in self.heads:
            head.start(session)

    def draft(self, session: Session, gamma: int, policy: Policy, generator: torch.Generator) -> Draft:
        self._policy, self._looked = policy, False
        if self._wait <= 0:
            self._look(session, policy)
        choices = [pace.best(gamma) for pace in self.paces]
        chosen = max(range(len(choices)), key=lambda number: choices[number][1])
        length = choices[chosen][0]
        if length == 0:
            return Draft(session.pending[:, :0])
        self._chosen, head = chosen, self.heads[chosen]

        def next_logits(token: Tensor, position: int) -> Tensor:
            return head.logits(session, session.extend(token, head.depth), position)

        draft = draft_token_by_token(
            session, length, policy, generator, next_logits, [], self.stopping, None, self.kept_ids
        )
        return replace(draft, exit_layers=[[head.exit.layer] * draft.tokens.shape[1]] * session.batch)

    def observe(self, outcome: Outcome) -> None:
        for head in self.heads:
            head.observe(outcome)
        decided = outcome.decided
        if self._chosen is not None:
            pace, drafted = self.paces[self._chosen], sum(drafted for drafted, _ in decided)
            pace.learn(
                sum(accepted for _, accepted in decided), sum(accepted < drafted for drafted, accepted in decided)
            )
            self.left[self.heads[self._chosen].exit.layer] += drafted
        if self.clock and not self._looked:
            self._measure(outcome)
        self._alive, self._chosen, self._looked = [bool(tokens) for tokens in outcome.tokens], None, False
        self._wait -= 1
        if self._wait < TOKENS:  # each cycle brings a token at least
            self._note_chances(outcome)

    def _measure(self, outcome: Outcome) -> None:
        """Move the cost of the head that drafted: what the cycle took beyond a vanilla step, by drafted token."""
        seconds, longest = outcome.draft_s + outcome.verify_s, max(outcome.drafted)
        if longest == 0:
            self._vanilla = moved(self._vanilla or seconds, seconds)
        elif self._chosen is not None and self._vanilla:
            pace = self.paces[self._chosen]
            pace.draft_cost = moved(pace.draft_cost, max(0.0, seconds / self._vanilla - 1.0) / longest)

    def _note_chances(self, outcome: Outcome) -> None:
        """Keep p of the verified tokens: 1 where the policy is greedy."""
        if self._policy is None or not any(outcome.tokens):
            return
        if self._policy.greedy:
            found = [[1.0] * len(tokens) for tokens in outcome.tokens]
        else:
            width = max(map(len, outcome.tokens))
            tokens = [row + [0] * (width - len(row)) for row in outcome.tokens]
            places = uploaded(tokens, outcome.logits.device).view(len(tokens), width, 1)
            p = self._policy.distribution(outcome.logits[:, :width])
            of_all: list[list[float]] = p.gather(-1, places).squeeze(-1).tolist()
            found = [chances[: len(row)] for chances, row in zip(of_all, outcome.tokens, strict=True)]
        self._chances = [(old + new)[-TOKENS:] for old, new in zip(self._chances, found, strict=True)]

    def _look(self, session: Session, policy: Policy) -> None:
        """Ask all heads what they would have said at the last tokens of the rows that go on."""
        rows = [row for row, alive in enumerate(self._alive) if alive]
        count = min(len(self._chances[row]) for row in rows)
        shadows = [head.shadows(session, count) for head in self.heads] if count else [None]
        if any(states is None for states in shadows):
            return  # a row is too short yet
        self._looked, self._every = True, min(2 * self._every, self.look)
        self._wait = self._every
        session.waits += 1
        device = session.pending.device
        tokens = uploaded([session.text[row][-count:] for row in rows], device).view(len(rows), count, 1)
        chances = torch.tensor([self._chances[row][-count:] for row in rows], device=device)
        shares = []
        for logits in self._logits(session, [states[rows] for states in shadows if states is not None]):
            shares.append(_taken(policy, logits, self.kept_ids, tokens, chances, session.target.config.vocab_size))
        for pace, share in zip(self.paces, torch.stack(shares).tolist(), strict=True):
            pace.learn(share, len(rows) * count - share)

    def _logits(self, session: Session, states: list[Tensor]) -> list[Tensor]:
        """Each head's logits; those that share an LM head read it once."""
        alike: dict[int, list[int]] = {}
        for number, head in enumerate(self.heads):
            alike.setdefault(id(head.exit.head), []).append(number)
        made: dict[int, Tensor] = {}
        for numbers in alike.values():
            lm_head = self.heads[numbers[0]].exit.head
            session.bytes_read += sum(part.bytes for part in lm_head.modules() if isinstance(part, Linear))
            together = lm_head(torch.stack([states[number] for number in numbers]))
            made |= dict(zip(numbers, together, strict=True))
        return [made[number] for number in range(len(self.heads))]


def moved(old: float, new: float, memory: float = 0.9) -> float:
    """A mean that forgets."""
    return memory * old + (1 - memory) * new


def _taken(
    policy: Policy, logits: Tensor, kept_ids: Tensor | None, tokens: Tensor, chances: Tensor, vocab: int
) -> Tensor:
    """Σ min(1, q(x) / p(x)) over tokens `[rows, count, 1]` that came out with p `chances [rows, count]`."""
    if policy.greedy:
        best = best_token(logits)
        return ((best if kept_ids is None else kept_ids[best]) == tokens).sum().float()
    q = policy.distribution(logits)
    if kept_ids is not None:
        q = torch.zeros((*q.shape[:-1], vocab), dtype=q.dtype, device=q.device).index_copy_(-1, kept_ids, q)
    return (q.gather(-1, tokens).squeeze(-1) / chances).clamp(max=1.0).sum()
