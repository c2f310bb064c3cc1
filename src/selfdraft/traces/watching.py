"""A drafter that is watched: what each of its tokens was drawn from, and what the target said of it.

It stands between the loop and a drafter, and changes neither: who asks for no trace decodes without it.
"""

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from selfdraft.decoding.accept import overlap
from selfdraft.decoding.drafter import Draft, Drafter
from selfdraft.decoding.outcome import Outcome
from selfdraft.decoding.policy import Policy
from selfdraft.decoding.session import Session

BEST = 5  # tokens that are listed of each distribution


@dataclass
class Candidate:
    """A token of a distribution. `plain`: its probability at temperature 1 before all warps; None without logits."""

    id: int
    probability: float
    plain: float | None


@dataclass
class Position:
    """A drafted token: p and q, the policy's probabilities of it, the overlap Σ_v min(p, q), the best of both."""

    id: int
    p: float
    q: float
    overlap: float
    target: list[Candidate]
    draft: list[Candidate]


@dataclass
class Seen:
    """One row's part of one cycle: its drafted positions, and the target's distribution behind the accepted ones.

    context: tokens before the pending one; accepted: as the rule decided, whatever the token limit cut off;
    by_model: whether logits of a draft were computed; p, logits: `[vocab]`, of the token that the target said itself.
    """

    context: int
    accepted: int
    by_model: bool
    positions: list[Position]
    p: Tensor
    logits: Tensor


class Noting(Policy):
    """The same policy, which keeps the logits that a draft draws from."""

    logits: list[Tensor]

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy.name, policy.temperature, policy.top_p, policy.top_k)
        object.__setattr__(self, "logits", [])

    def draw(self, logits: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        self.logits.append(logits.clone())
        return super().draw(logits, generator)


class Watched:
    """Hands everything on to `drafter`; `rows` is what was seen in the last cycle, `seconds` what the looking took.

    The looking happens when the loop tells of a cycle: it is in the loop's `decode_s`, and in none of its phases.
    """

    def __init__(self, drafter: Drafter) -> None:
        self.drafter = drafter
        self.depths, self.learns = drafter.depths, drafter.learns
        self.kept_ids = kept_ids_of(drafter)
        self.rows: list[Seen] = []
        self.seconds = 0.0
        self._policy: Policy = Policy("none")
        self._draft: Draft | None = None
        self._logits: list[Tensor] = []

    def start(self, session: Session) -> None:
        self.drafter.start(session)

    def draft(self, session: Session, gamma: int, policy: Policy, generator: torch.Generator) -> Draft:
        noting = Noting(policy)
        self._policy, self._draft = policy, self.drafter.draft(session, gamma, noting, generator)
        self._logits = noting.logits
        return self._draft

    def observe(self, outcome: Outcome) -> None:
        begin = time.perf_counter()
        with torch.no_grad():
            self.rows = self._seen(outcome)
        self._draft, self._logits = None, []
        self.seconds += time.perf_counter() - begin
        self.drafter.observe(outcome)

    def _seen(self, outcome: Outcome) -> list[Seen]:
        """What is seen of each row. A last cycle of one token has no draft, and nobody was asked for one."""
        p = self._policy.distribution(outcome.logits)  # [batch, gamma + 1, vocab]
        draft = self._draft or Draft(torch.empty((len(p), 0), dtype=torch.int64, device=p.device))
        overlaps = overlap(p, draft.tokens, draft.q, draft.lengths).tolist()
        tokens: list[list[int]] = draft.tokens.tolist()
        found = []
        for row, (drafted, accepted) in enumerate(zip(outcome.drafted, outcome.accepted, strict=True)):
            positions = []
            for place, token in enumerate(tokens[row][:drafted]):
                q = None if draft.q is None else draft.q[row, place]
                positions.append(
                    Position(
                        token,
                        float(p[row, place, token]),
                        1.0 if q is None else float(q[token]),
                        overlaps[row][place],
                        best(p[row, place], outcome.logits[row, place]),
                        self._best_of_draft(row, place, token, q),
                    )
                )
            own = p[row, accepted].clone(), outcome.logits[row, accepted].clone()
            found.append(Seen(outcome.starts[row], accepted, bool(self._logits), positions, *own))
        return found

    def _best_of_draft(self, row: int, place: int, token: int, q: Tensor | None) -> list[Candidate]:
        """The best tokens of the distribution that a token was drawn from."""
        if place >= len(self._logits):
            return [Candidate(token, 1.0, None)]  # found in the text, not computed
        logits = self._logits[place][row]
        if q is None:
            vocab = logits.shape[-1] if self.kept_ids is None else int(self.kept_ids.max()) + 1
            q = torch.zeros(max(vocab, token + 1), device=logits.device)
            q[token] = 1.0
        return best(q, logits, self.kept_ids)


def best(probabilities: Tensor, logits: Tensor, ids: Tensor | None = None) -> list[Candidate]:
    """The `BEST` tokens of logits `[vocab]`, best first: no warp changes their order.

    probabilities: the policy's, `[vocab]`; ids: the tokens that the logits are of, None for all.
    """
    plain, places = torch.softmax(logits.float(), dim=-1).topk(min(BEST, logits.shape[-1]))
    tokens = places if ids is None else ids[places]
    rows = zip(tokens.tolist(), probabilities[tokens].tolist(), plain.tolist(), strict=True)
    return [Candidate(*row) for row in rows]


def kept_ids_of(drafter: Any) -> Tensor | None:
    """The draft vocabulary of a drafter whose head was trimmed; of a hybrid's other drafter; None for all tokens."""
    for part in (drafter, getattr(drafter, "exit", None), getattr(drafter, "model", None)):
        ids: Tensor | None = getattr(part, "kept_ids", None)
        if ids is not None:
            return ids
    inner = getattr(drafter, "drafter", None)
    return None if inner is None else kept_ids_of(inner)
