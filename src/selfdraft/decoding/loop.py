"""The speculative loop: draft, verify, accept, roll back; and vanilla decoding to compare it with."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch

from selfdraft.decoding.accept import accept, overlap
from selfdraft.decoding.accept_tree import accept_tree
from selfdraft.decoding.clock import Laps, now
from selfdraft.decoding.drafter import Draft, Drafter, widest
from selfdraft.decoding.outcome import Outcome
from selfdraft.decoding.policy import NAN_LOGITS, Policy, nan_rows
from selfdraft.decoding.prefill import Prefill
from selfdraft.decoding.session import Session
from selfdraft.errors import StudyError
from selfdraft.models.llama import Llama


@dataclass
class Cycle:
    """One row's part of one verification. `drafted` counts all tokens of a draft, of a tree its nodes; `accepted`
    those returned, the bonus excluded.

    `cut`: the cycle could not have returned all gamma tokens and a bonus (token limit), or ended the
    sequence; it does not count in acceptance estimates.
    """

    row: int
    drafted: int
    accepted: int
    tokens: list[int]  # returned: accepted draft tokens, then the residual or bonus token
    cut: bool
    overlap_sum: float | None = None
    looked_up: bool = False  # the draft was found in the text, by a drafter that drafts itself where nothing is
    exit_layers: tuple[int, ...] = ()  # where each drafted token left, by a drafter with several heads


@dataclass
class Timings:
    """Seconds of the phases of one generation, and bytes of weights and KV read while decoding.

    `decode_s` less the three phases is the loop's own bookkeeping. What a consumer of `cycles` does
    between two cycles is in none of them. On CUDA the phases are the device's times, `decode_s` is the wall's.
    """

    prefill_s: float = 0.0
    decode_s: float = 0.0
    draft_s: float = 0.0
    verify_s: float = 0.0
    accept_s: float = 0.0
    bytes_read: int = 0
    waits: int = 0  # times that the host waited for the device while decoding
    captures: int = 0  # steps that were captured while decoding

    def count(self, session: Session) -> None:
        """Take over what the session has counted."""
        self.bytes_read, self.waits, self.captures = session.bytes_read, session.waits, session.captures


@dataclass
class Generation:
    """New tokens per prompt (the prompt excluded), and how they came about."""

    tokens: list[list[int]]
    cycles: list[Cycle] = field(default_factory=list)
    timings: Timings = field(default_factory=Timings)


@torch.inference_mode()
def vanilla(
    target: Llama,
    prompts: list[list[int]],
    policy: Policy,
    max_new_tokens: int,
    generator: torch.Generator,
    eos_ids: frozenset[int] = frozenset(),
    on_token: Callable[[int, int], object] | None = None,
    prefill: Prefill | None = None,
) -> Generation:
    """Decode token by token with the target alone; the baseline, and the truth of greedy identity.

    `on_token(row, token)` is called for each new token as soon as it is known. `prefill` has read the prompts.
    """
    _check_limit(max_new_tokens)
    begin = now(target.device)
    session = Session(target, prompts, max_new_tokens, (), prefill)
    nothing = torch.empty((len(prompts), 0), dtype=torch.int64, device=target.device)
    zeros = torch.zeros(len(prompts), dtype=torch.int64, device=target.device)
    result = Generation([[] for _ in prompts])
    result.timings.prefill_s = now(target.device) - begin + (prefill.seconds if prefill else 0.0)
    begin = now(target.device)
    alive = [True] * len(prompts)
    while any(alive):
        logits = session.verify(nothing)[:, -1]
        token, _ = policy.draw(logits, generator)
        decided = torch.cat((token, nan_rows(logits)), dim=1).tolist()
        session.waits += 1
        if any(row[-1] for row in decided):
            raise StudyError(NAN_LOGITS)
        values = [row[:1] for row in decided]
        session.commit(zeros, token, [value if live else [] for value, live in zip(values, alive, strict=True)])
        for row, (value,) in enumerate(values):
            if alive[row]:
                result.tokens[row].append(value)
                if on_token is not None:
                    on_token(row, value)
                alive[row] = len(result.tokens[row]) < max_new_tokens and value not in eos_ids
    result.timings.decode_s = now(target.device) - begin
    result.timings.count(session)
    return result


@torch.inference_mode()
def speculate(
    target: Llama,
    drafter: Drafter,
    prompts: list[list[int]],
    policy: Policy,
    gamma: int,
    max_new_tokens: int,
    generator: torch.Generator,
    eos_ids: frozenset[int] = frozenset(),
    trace: bool = False,
    prefill: Prefill | None = None,
    whole: bool = False,
) -> Generation:
    """Decode speculatively; the output is distributed as `vanilla`'s (and equal to it when greedy).

    `trace` also computes each cycle's overlap Σ_v min(p, q), summed over its drafted positions. `prefill` has read
    the prompts, and kept the states at the drafter's depth. With `whole` no draft is shortened towards the end
    and the last cycle's tokens all count: at least `max_new_tokens` are returned, at most gamma more.
    """
    result = Generation([[] for _ in prompts])
    for cycle in cycles(
        target,
        drafter,
        prompts,
        policy,
        gamma,
        max_new_tokens,
        generator,
        eos_ids,
        trace,
        result.timings,
        prefill,
        whole,
    ):
        result.tokens[cycle.row] += cycle.tokens
        result.cycles.append(cycle)
    return result


@torch.inference_mode()
def cycles(
    target: Llama,
    drafter: Drafter,
    prompts: list[list[int]],
    policy: Policy,
    gamma: int,
    max_new_tokens: int,
    generator: torch.Generator,
    eos_ids: frozenset[int] = frozenset(),
    trace: bool = False,
    timings: Timings | None = None,
    prefill: Prefill | None = None,
    whole: bool = False,
) -> Iterator[Cycle]:
    """The loop itself, yielding each row's part of each cycle as soon as it is known; see `speculate`."""
    _check_limit(max_new_tokens)
    if gamma < 1:
        raise StudyError(f"gamma: {gamma} is not ≥ 1")
    timings = Timings() if timings is None else timings
    device = target.device
    begin = now(device)
    needed = widest(drafter, gamma)
    room, spare = (max_new_tokens + needed, 0) if whole else (max_new_tokens, needed)
    session = Session(target, prompts, room, drafter.depths, prefill, spare)
    drafter.start(session)
    remaining = [max_new_tokens] * len(prompts)
    timings.prefill_s = now(device) - begin + (prefill.seconds if prefill else 0.0)
    while any(remaining):
        begin = time.perf_counter()
        laps = Laps(device)
        laps.mark()
        # The verification itself returns one token: no more are drafted than can be returned.
        # At the end of the context a row that is done may stand further on than one that still drafts.
        fit = session.room
        most = gamma if whole else min(gamma, max(remaining) - 1, fit)
        draft = drafter.draft(session, most, policy, generator) if most else Draft(session.pending[:, :0])
        tokens, q = draft.tokens, draft.q
        parents = draft.parents if tokens.shape[1] else None
        laps.mark()
        held = session.held()
        logits = session.verify(tokens) if parents is None else session.verify_tree(tokens, parents)
        laps.mark()
        p = policy.distribution(logits)
        if parents is None:
            accepted, next_token = accept(p, tokens, q, generator, draft.lengths)
        else:
            accepted, next_token, path = accept_tree(p, tokens, parents, q, generator, draft.lengths)
            tokens, held = tokens.gather(1, path), [path]  # the accepted ones first; no layers were run for the draft
        laps.mark()
        overlaps = overlap(p, tokens, q, draft.lengths).sum(1).tolist() if trace and parents is None else None
        # All that the host must know crosses over at once: the only wait of a cycle.
        width, known = tokens.shape[1], sum(part.shape[1] for part in held)
        lengths = torch.full_like(accepted, width) if draft.lengths is None else draft.lengths
        parts = (*held, tokens, accepted.unsqueeze(1), lengths.unsqueeze(1), next_token, nan_rows(logits))
        decided: list[list[int]] = torch.cat(parts, dim=1).tolist()
        session.waits += 1
        if any(row[-1] for row in decided):
            raise StudyError(NAN_LOGITS)
        finished: list[Cycle] = []
        keep: list[list[int]] = [[] for _ in prompts]
        outcome = Outcome(list(session.lengths), [], [], keep, session.features(), logits, 0.0, 0.0)
        for row, left in enumerate(remaining):
            ran, proposed = decided[row][:known], decided[row][known:-4]
            count, drafted, last, _ = decided[row][-4:]
            outcome.drafted.append(drafted)
            outcome.accepted.append(count)
            if left == 0:
                continue
            if parents is None:
                _check_held(ran, [session.text[row][-1], *proposed[:drafted]], row)
            new = [*proposed[:count], last]
            keep[row] = new
            if not whole:
                new = new[:left]
            ends = next((at for at, value in enumerate(new) if value in eos_ids), None)
            if ends is not None:
                new = new[: ends + 1]
            cut = ends is not None or (not whole and (most < gamma or left <= gamma or fit < needed))
            summed, found = overlaps[row] if overlaps else None, bool(draft.looked_up and draft.looked_up[row])
            layers = tuple(draft.exit_layers[row][:drafted]) if draft.exit_layers else ()
            finished.append(Cycle(row, drafted, min(count, len(new)), new, cut, summed, found, layers))
            remaining[row] = 0 if ends is not None else max(0, left - len(new))
            if remaining[row] == 0:
                keep[row] = []  # a finished row stands still; its slots are overwritten by filler
        if parents is not None:
            longest = outcome.longest
            outcome.logits = session.settle([row[:longest] for row in decided], logits)
            outcome.features = session.features()
        session.commit(accepted, next_token, keep)
        outcome.draft_s, outcome.verify_s, accept_s = laps.seconds()
        _tell(drafter, outcome)
        timings.draft_s += outcome.draft_s
        timings.verify_s += outcome.verify_s
        timings.accept_s += accept_s
        timings.count(session)
        timings.decode_s += time.perf_counter() - begin
        yield from finished


def _tell(drafter: Drafter, outcome: Outcome) -> None:
    if drafter.learns:
        with torch.inference_mode(False), torch.enable_grad():
            drafter.observe(outcome.to_learn_from())
    else:
        drafter.observe(outcome)


def _check_held(ran: list[int], proposed: list[int], row: int) -> None:
    """Raise RuntimeError if a row's draft is not of the tokens that were run: their states are not the draft's."""
    for place, (one, other) in enumerate(zip(ran, proposed, strict=False)):
        if one != other:
            raise RuntimeError(
                f"drafter: row {row}, place {place} of the draft: token {one} was run through the target's layers, "
                f"{other} is proposed"
            )


def _check_limit(max_new_tokens: int) -> None:
    if max_new_tokens < 1:
        raise StudyError(f"max_new_tokens: {max_new_tokens} is not ≥ 1")
