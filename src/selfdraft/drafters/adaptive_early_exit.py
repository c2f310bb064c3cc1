"""Adaptive early exit: each drafted token leaves at its first sure head; a draft ends when none is sure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selfdraft.calibration.measures import low_is_sure
from selfdraft.calibration.record import (
    LEVEL,
    MEASURE,
    RISKS,
    RULE,
    read_calibration,
    thresholds_of,
    unharmed_thresholds_of,
)
from selfdraft.decoding.drafter import Draft
from selfdraft.decoding.drafting import Drafting
from selfdraft.decoding.outcome import Outcome
from selfdraft.decoding.policy import Policy
from selfdraft.decoding.session import Session
from selfdraft.decoding.sureness import sureness
from selfdraft.decoding.upload import uploaded
from selfdraft.drafters.exits import folder_of_heads
from selfdraft.drafters.running_exit import RunningExit
from selfdraft.errors import StudyError
from selfdraft.files import sha256_of
from selfdraft.models.exit import Exit
from selfdraft.models.exits import FILE, load_exits
from selfdraft.models.llama import Llama
from selfdraft.models.vocabulary import to_target_ids

HEADS = True  # tokens leave at several layers
SETTINGS = {
    "drafter": {
        "description": "Name of the entry of `drafters`, of kind exits, whose heads it asks.",
        "type": "string",
    },
    "accuracy_level": {
        "description": "Share of exits that agree with the target, or of what `risk` says, as calibrated (0.75).",
        "enum": [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95],
    },
    "measure": {
        "description": "How a head is sure (entropy).",
        "enum": ["entropy", "top_probability", "margin"],
    },
    "risk": {
        "description": "What the level is of: disagreement, the share of a head's exits that agree with the target; "
        "no_harm, the share of conversations that are not slower than the target alone, if the heads were calibrated "
        "for it (disagreement).",
        "enum": ["disagreement", "no_harm"],
    },
    "rule": {
        "description": "How thresholds were chosen: learn_then_test promises the level, empirical does not "
        "(learn_then_test).",
        "enum": ["learn_then_test", "empirical"],
    },
}
REQUIRED = ("drafter",)


def build(
    name: str, settings: Mapping[str, Any], target: Llama, drafting: Drafting, kept_ids: Tensor | None
) -> "AdaptiveDrafter":
    """See `drafter_of`; raises StudyError as `load_exits`, `read_calibration` and `thresholds_of`."""
    where = f"drafters.{name}"
    folder = folder_of_heads(where, settings["drafter"])
    if drafting.stopping() or drafting.adapt:
        raise StudyError(f"{where}: a draft ends where no head is sure: drafting {drafting.name} is not for it")
    drafting.must_be_chain(where, "adaptive_early_exit")
    exits, _ = load_exits(folder, target)
    calibration = read_calibration(folder, sha256_of(Path(folder) / FILE), target.fingerprint)
    measure = settings.get("measure", MEASURE)
    level, rule = settings.get("accuracy_level", LEVEL), settings.get("rule", RULE)
    risk, longest = settings.get("risk", RISKS[0]), None
    if risk not in RISKS:
        raise StudyError(f"{where}.risk: {risk!r} is unknown; one of {', '.join(RISKS)} is right")
    if risk == "no_harm":
        limits, longest = unharmed_thresholds_of(calibration, level, measure, rule, where)
    else:
        limits = thresholds_of(calibration, level, measure, rule, where)
    asked = [(made, limit) for made in exits if (limit := limits.get(made.layer)) is not None]
    if kept_ids is not None:
        for made, _ in asked:
            made.trim(kept_ids)
    return AdaptiveDrafter(target, [(made.pack(), limit) for made, limit in asked], measure, longest)


class AdaptiveDrafter:
    """Asks its heads from shallow to deep for the next token, which is drawn from the first that is sure of it.

    Which head that is, and whether a draft ends, follows from tokens drafted before alone: q is what the token was
    drawn from, and the output stays the target's. A token goes no deeper than the last head that was asked after it;
    those before it go along (`Session.deepen`), so that keys and values below it are complete. Rows of a batch go as
    deep as the least sure of them, and each draws from its own head.
    """

    learns = False

    def __init__(
        self,
        target: Llama,
        heads: Sequence[tuple[Exit, float]],
        measure: str = MEASURE,
        longest: int | None = None,
    ) -> None:
        """`heads` are exits, shallow ones first, each with its threshold on the measure. `longest`: of a draft."""
        assert heads, "without a head nothing is drafted"
        self.measure, self.longest = measure, longest
        self.heads = [(RunningExit(target, made), limit) for made, limit in heads]
        self.kept_ids = heads[0][0].kept_ids
        self.depths: tuple[int, ...] = tuple(sorted({head.depth for head, _ in self.heads if head.attends}))
        self.left: dict[int, int] = {}  # drafted tokens by the layer of the head that they left at, since the start
        self._alive: list[bool] = []

    @property
    def asked(self) -> list[tuple[RunningExit, str]]:
        """The heads, each with the measure by which it is asked how sure it is."""
        return [(head, self.measure) for head, _ in self.heads]

    def start(self, session: Session) -> None:
        self._alive = [True] * session.batch
        self.left = {head.exit.layer: 0 for head, _ in self.heads}
        for head, _ in self.heads:
            head.start(session)

    def draft(self, session: Session, gamma: int, policy: Policy, generator: torch.Generator) -> Draft:
        tokens: list[Tensor] = []
        drawn_from: list[Tensor] = []
        token = session.pending
        going = uploaded(self._alive, token.device) > 0
        lengths = torch.zeros(session.batch, dtype=torch.int64, device=token.device)
        layers: list[list[int]] = [[] for _ in range(session.batch)]
        for position in range(gamma if self.longest is None else min(gamma, self.longest)):
            logits, sure, left = self._answer(session, token, position, going)
            if not left:
                break
            for row, layer in left.items():
                layers[row].append(layer)
            going = going & sure
            token, q = policy.draw(logits, generator)
            if self.kept_ids is not None:
                token, q = to_target_ids(self.kept_ids, token, q, session.target.config.vocab_size)
            tokens.append(token)
            if q is not None:
                drawn_from.append(q)
            lengths += going
        if not tokens:
            return Draft(session.pending[:, :0])
        q = torch.stack(drawn_from, dim=1) if drawn_from else None
        return Draft(torch.cat(tokens, dim=1), q, lengths, exit_layers=layers)

    def observe(self, outcome: Outcome) -> None:
        self._alive = [bool(tokens) for tokens in outcome.tokens]
        for head, _ in self.heads:
            head.observe(outcome)

    def _answer(
        self, session: Session, token: Tensor, position: int, going: Tensor
    ) -> tuple[Tensor, Tensor, dict[int, int]]:
        """Each row's logits `[batch, vocab]` from its first sure head, which rows have one, and its layer by row.

        Heads are asked until all rows that are `going` have one; a row without gets the last one's logits. Of a row
        that is not `going`, or has none, no layer is told.
        """
        logits, sure = torch.empty(0), torch.zeros_like(going)
        left: dict[int, int] = {}
        for number, (head, limit) in enumerate(self.heads):
            hidden = session.deepen(head.depth) if number else session.extend(token, head.depth)
            found = head.logits(session, hidden, position)
            measured = sureness(found, self.measure)
            enough = measured <= limit if low_is_sure(self.measure) else measured >= limit
            logits = torch.where(sure.unsqueeze(1), logits, found) if number else found
            leaving, waiting = going & enough & ~sure, going & ~enough & ~sure
            sure = sure | enough
            leave, wait = torch.stack((leaving, waiting)).tolist()
            session.waits += 1  # whether to go deeper is the host's decision
            left |= {row: head.exit.layer for row, leaves in enumerate(leave) if leaves}
            self.left[head.exit.layer] += sum(leave)
            if not any(wait):
                break
        return logits, sure, left
