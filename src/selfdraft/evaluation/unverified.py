"""Decoding that nobody verifies: each token leaves at its first sure head, else at the full depth; how far it strays.

What is said here in one place: keys and values of layers that a token skipped are computed when a later token goes
there. All tokens since the last one that went to the full depth are one draft to the session, which knows of each how
deep it has gone, and takes those before a token along (`Session.deepen`, and `Session.verify` for the full depth).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from selfdraft.calibration.measures import low_is_sure
from selfdraft.decoding.clock import now
from selfdraft.decoding.outcome import Outcome
from selfdraft.decoding.policy import NAN_LOGITS, Policy, nan_rows
from selfdraft.decoding.session import Session
from selfdraft.decoding.sureness import sureness
from selfdraft.drafters.running_exit import RunningExit
from selfdraft.errors import StudyError
from selfdraft.models.exit import Exit
from selfdraft.models.llama import Llama


@dataclass
class Unverified:
    """The new tokens of one prompt, the layer that each left at, and seconds; the last layer is the full depth."""

    tokens: list[int] = field(default_factory=list)
    layers: list[int] = field(default_factory=list)
    decode_s: float = 0.0
    full: int = 0  # tokens that went to the full depth: the target's calls


class Leaving:
    """Decides where tokens leave: heads, shallow ones first, each with a threshold on the measure, None for always."""

    def __init__(self, target: Llama, heads: Sequence[tuple[Exit, float | None]], measure: str = "entropy") -> None:
        self.heads = [(RunningExit(target, made), limit) for made, limit in heads]
        self.measure = measure
        self.depths = tuple(sorted({head.depth for head, _ in self.heads if head.attends}))

    def leave(self, session: Session, token: Tensor, position: int) -> tuple[Tensor, int] | None:
        """Logits `[1, vocab]` of the first sure head after the token, and its layer; None if no head is sure."""
        for number, (head, limit) in enumerate(self.heads):
            hidden = session.deepen(head.depth) if number else session.extend(token, head.depth)
            logits = head.logits(session, hidden, position)
            if limit is None:
                return logits, head.exit.layer
            session.waits += 1  # whether to go deeper is the host's decision
            found = float(sureness(logits, self.measure))
            if found <= limit if low_is_sure(self.measure) else found >= limit:
                return logits, head.exit.layer
        return None


@torch.inference_mode()
def unverified(
    target: Llama,
    leaving: Leaving,
    prompt: list[int],
    policy: Policy,
    max_new_tokens: int,
    generator: torch.Generator,
    eos_ids: frozenset[int] = frozenset(),
    on_token: Callable[[int, int], object] | None = None,
) -> Unverified:
    """Decode one prompt; `on_token(token, layer)` is called for each new token. Raises StudyError as `vanilla`."""
    if max_new_tokens < 1:
        raise StudyError(f"max_new_tokens: {max_new_tokens} is not ≥ 1")
    session = Session(target, [prompt], max_new_tokens, leaving.depths)
    for head, _ in leaving.heads:
        head.start(session)
    result, last = Unverified(), target.config.n_layers - 1
    begin = now(target.device)
    token, since = session.pending, session.pending[:, :0]  # tokens since the last one that went to the full depth
    while True:
        left = leaving.leave(session, token, since.shape[1])
        logits, layer = (session.verify(since, last=True)[:, -1], last) if left is None else left
        token, _ = policy.draw(logits, generator)
        value, broken = torch.cat((token, nan_rows(logits)), dim=1).tolist()[0]
        session.waits += 1
        if broken:
            raise StudyError(NAN_LOGITS)
        if left is None:
            result.full += 1
            _settle(session, leaving, since, token, logits)
            since = since[:, :0]
        else:
            since = torch.cat((since, token), dim=1)
        result.tokens.append(value)
        result.layers.append(layer)
        if on_token is not None:
            on_token(value, layer)
        if value in eos_ids or len(result.tokens) == max_new_tokens:
            break
    result.decode_s = now(target.device) - begin
    return result


def _settle(session: Session, leaving: Leaving, since: Tensor, token: Tensor, logits: Tensor) -> None:
    """All tokens are at the full depth: their keys and values are whole, and the newest token is pending."""
    count, new = since.shape[1], [[*since[0].tolist(), int(token)]]
    outcome = Outcome(list(session.lengths), [count], [count], new, session.features(), logits, 0.0, 0.0)
    session.commit(torch.tensor([count], device=token.device), token, new)
    for head, _ in leaving.heads:
        head.observe(outcome)


@dataclass
class Judged:
    """What the target says of an answer: tokens that are not its best one, and Σ -log p in nats at temperature 1."""

    tokens: int
    disagreeing: int
    nats: float


@torch.inference_mode()
def judged(target: Llama, prompt: list[int], answer: list[int]) -> Judged:
    """In one pass over the prompt and the answer, whoever wrote it."""
    tokens = torch.tensor([[*prompt, *answer[:-1]]], device=target.device)
    hidden = target.run(target.embed(tokens), 0, target.config.n_layers, target.step([0], tokens.shape[1]))
    logits = target.logits(hidden[:, len(prompt) - 1 :])[0].float()
    said = torch.tensor(answer, device=target.device)
    nats = torch.nn.functional.cross_entropy(logits, said, reduction="sum")
    return Judged(len(answer), int((logits.argmax(-1) != said).sum()), float(nats))
