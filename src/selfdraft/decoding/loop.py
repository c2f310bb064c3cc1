"""The speculative loop: draft, verify, accept, roll back; and vanilla decoding to compare it with."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch

from selfdraft.decoding.accept import accept, overlap
from selfdraft.decoding.drafter import Draft, Drafter
from selfdraft.decoding.policy import Policy
from selfdraft.decoding.session import Session
from selfdraft.errors import StudyError
from selfdraft.models.llama import Llama


@dataclass
class Cycle:
    """One row's part of one verification. `accepted` counts draft tokens, the bonus excluded.

    `cut`: the cycle could not have returned all gamma tokens and a bonus (token limit), or ended the
    sequence; it does not count in acceptance estimates.
    """

    row: int
    drafted: int
    accepted: int
    tokens: list[int]  # returned: accepted draft tokens, then the residual or bonus token
    cut: bool
    overlap_sum: float | None = None


@dataclass
class Timings:
    """Seconds of the phases of one generation, and bytes of weights and KV read while decoding.

    What a consumer of `cycles` does between two cycles is in none of them.
    """

    prefill_s: float = 0.0
    decode_s: float = 0.0
    draft_s: float = 0.0
    verify_s: float = 0.0
    accept_s: float = 0.0
    bytes_read: int = 0


@dataclass
class Generation:
    """New tokens per prompt (the prompt excluded), and how they came about."""

    tokens: list[list[int]]
    cycles: list[Cycle] = field(default_factory=list)
    timings: Timings = field(default_factory=Timings)


def _clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


@torch.inference_mode()
def vanilla(
    target: Llama,
    prompts: list[list[int]],
    policy: Policy,
    max_new_tokens: int,
    generator: torch.Generator,
    eos_ids: frozenset[int] = frozenset(),
    on_token: Callable[[int, int], object] | None = None,
) -> Generation:
    """Decode token by token with the target alone; the baseline, and the truth of greedy identity.

    `on_token(row, token)` is called for each new token as soon as it is known.
    """
    _check_limit(max_new_tokens)
    begin = _clock(target.device)
    session = Session(target, prompts, max_new_tokens, depth=0)
    nothing = torch.empty((len(prompts), 0), dtype=torch.int64, device=target.device)
    zeros = torch.zeros(len(prompts), dtype=torch.int64, device=target.device)
    result = Generation([[] for _ in prompts])
    result.timings.prefill_s = _clock(target.device) - begin
    begin = _clock(target.device)
    alive = [True] * len(prompts)
    while any(alive):
        token, _ = policy.draw(session.verify(nothing)[:, -1], generator)
        values = token.tolist()
        session.commit(zeros, token, [value if live else [] for value, live in zip(values, alive, strict=True)])
        for row, (value,) in enumerate(values):
            if alive[row]:
                result.tokens[row].append(value)
                if on_token is not None:
                    on_token(row, value)
                alive[row] = len(result.tokens[row]) < max_new_tokens and value not in eos_ids
    result.timings.decode_s = _clock(target.device) - begin
    result.timings.bytes_read = session.bytes_read
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
) -> Generation:
    """Decode speculatively; the output is distributed as `vanilla`'s (and equal to it when greedy).

    `trace` also computes each cycle's overlap Σ_v min(p, q), summed over its drafted positions.
    """
    result = Generation([[] for _ in prompts])
    for cycle in cycles(
        target, drafter, prompts, policy, gamma, max_new_tokens, generator, eos_ids, trace, result.timings
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
) -> Iterator[Cycle]:
    """The loop itself, yielding each row's part of each cycle as soon as it is known."""
    _check_limit(max_new_tokens)
    if gamma < 1:
        raise StudyError(f"gamma: {gamma} is not ≥ 1")
    timings = Timings() if timings is None else timings
    clock = target.device
    begin = _clock(clock)
    session = Session(target, prompts, max_new_tokens + gamma, drafter.depth)
    drafter.start(session)
    remaining = [max_new_tokens] * len(prompts)
    timings.prefill_s = _clock(clock) - begin
    while any(remaining):
        t0 = _clock(clock)
        # The verification itself returns one token: no more are drafted than can be returned.
        now = min(gamma, max(remaining) - 1)
        draft = drafter.draft(session, now, policy, generator) if now else Draft(session.pending[:, :0])
        tokens, q = draft.tokens, draft.q
        t1 = _clock(clock)
        logits = session.verify(tokens)
        t2 = _clock(clock)
        p = policy.distribution(logits)
        accepted, next_token = accept(p, tokens, q, generator, draft.lengths)
        overlaps = overlap(p, tokens, q, draft.lengths).sum(1).tolist() if trace else None
        proposed, counts, last = tokens.tolist(), accepted.tolist(), next_token[:, 0].tolist()
        drafted = [tokens.shape[1]] * len(prompts) if draft.lengths is None else draft.lengths.tolist()
        finished: list[Cycle] = []
        keep: list[list[int]] = [[] for _ in prompts]
        for row, left in enumerate(remaining):
            if left == 0:
                continue
            new = [*proposed[row][: counts[row]], last[row]]
            keep[row], new = new, new[:left]
            ends = next((at for at, value in enumerate(new) if value in eos_ids), None)
            if ends is not None:
                new = new[: ends + 1]
            cut = ends is not None or now < gamma or left <= gamma
            finished.append(
                Cycle(row, drafted[row], min(counts[row], len(new)), new, cut, overlaps[row] if overlaps else None)
            )
            remaining[row] = 0 if ends is not None else left - len(new)
            if remaining[row] == 0:
                keep[row] = []  # a finished row stands still; its slots are overwritten by filler
        session.commit(accepted, next_token, keep)
        t3 = _clock(clock)
        timings.draft_s += t1 - t0
        timings.verify_s += t2 - t1
        timings.accept_s += t3 - t2
        timings.bytes_read = session.bytes_read
        timings.decode_s += t3 - t0
        yield from finished


def _check_limit(max_new_tokens: int) -> None:
    if max_new_tokens < 1:
        raise StudyError(f"max_new_tokens: {max_new_tokens} is not ≥ 1")
