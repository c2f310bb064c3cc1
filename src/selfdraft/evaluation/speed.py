"""Decode times of drafts, vanilla and transformers in one process, every draft's run beside a vanilla run.

A prompt is read once. Its answer is decoded in short stretches (`repeats`): all methods decode the next few tokens from
the same place, then the text moves on by vanilla's tokens. Two drafts stand around one vanilla run, a *pair*
of theirs each. No draft is cut short at the end of a stretch, so that the length of a run does not decide its speed.
"""

import random
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from selfdraft.decoding.clock import now
from selfdraft.decoding.drafter import Drafter, widest
from selfdraft.decoding.loop import Generation, speculate, vanilla
from selfdraft.decoding.policy import Policy
from selfdraft.decoding.prefill import Prefill
from selfdraft.evaluation import disturbance
from selfdraft.evaluation.disturbance import Counters
from selfdraft.evaluation.number_format import number_format
from selfdraft.evaluation.peers import TransformersPeer
from selfdraft.evaluation.rows import SETTINGS
from selfdraft.models.graphs import window_of
from selfdraft.models.llama import Llama
from selfdraft.sequences import Prompt

COLUMNS = (
    *SETTINGS,
    *("method", "prompt", "repeat", "pair", "context", "new_tokens", "prefill_s", "decode_s", "cycles", "accepted"),
    *("draft_s", "verify_s", "accept_s", "bytes_read", "peak_memory_mb", "captures", "waits"),
    *disturbance.COLUMNS,
    *("dtype", "threads", "device"),
)

Row = dict[str, Any]
Run = Callable[[Prefill, int], Row]  # (where to start, seed) -> the measured cells


@dataclass(frozen=True)
class Patience:
    """How often a disturbed run is timed again: attempts in all, and minutes of the job for all further ones."""

    attempts: int = 3
    minutes: float = 2.0


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory in MiB: the allocator's since its last reset on CUDA; on the CPU the resident set of the
    whole process so far, transformers' copy of the model included."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def generation_row(method: str, result: Generation) -> Row:
    """The measured cells of one generation of one prompt."""
    row: Row = {
        "method": method,
        "new_tokens": len(result.tokens[0]),
        "prefill_s": result.timings.prefill_s,
        "decode_s": result.timings.decode_s,
        "bytes_read": result.timings.bytes_read,
        "captures": result.timings.captures,
        "waits": result.timings.waits,
    }
    if method == "speculative":
        row |= {
            "cycles": len(result.cycles),
            "accepted": sum(cycle.accepted for cycle in result.cycles),
            "draft_s": result.timings.draft_s,
            "verify_s": result.timings.verify_s,
            "accept_s": result.timings.accept_s,
        }
    return row


@dataclass
class Block:
    """Runs that are timed next to each other, and timed again together; `pair` counts the blocks of a stretch."""

    prompt: Prompt
    repeat: int
    pair: int
    methods: list[int]
    rows: list[Row] = field(default_factory=list)
    attempts: int = 0

    def disturbed(self, quiet: float) -> bool:
        return any(disturbance.is_disturbed(row, quiet) for row in self.rows)


class Timer:
    """Times blocks of runs on one target; see `speed_rows` for the arguments."""

    def __init__(
        self,
        target: Llama,
        drafters: Sequence[tuple[Drafter, int, Mapping[str, Any]]],
        transformers: TransformersPeer | None,
        policy: Policy,
        max_new_tokens: int,
    ) -> None:
        self.target, self.policy, self.max_new_tokens = target, policy, max_new_tokens
        self.slots = max((widest(drafter, gamma) for drafter, gamma, _ in drafters), default=0)
        self.depths = {depth for drafter, _, _ in drafters for depth in drafter.depths}
        self.runs: list[Run] = [self._vanilla()]
        self.runs += [self._draft(*drafter) for drafter in drafters]
        self.references: list[float] = []
        if transformers is not None:
            self.runs.append(self._transformers(transformers))
        self.drafts = list(range(1, 1 + len(drafters)))

    def generator(self, seed: int) -> torch.Generator:
        return torch.Generator(self.target.device).manual_seed(seed)

    def _vanilla(self) -> Run:
        def run(start: Prefill, seed: int) -> Row:
            prompts, new = start.prompts, self.max_new_tokens
            result = vanilla(self.target, prompts, self.policy, new, self.generator(seed), prefill=start)
            return {"drafter": "vanilla", **generation_row("vanilla", result)}

        return run

    def _draft(self, drafter: Drafter, gamma: int, settings: Mapping[str, Any]) -> Run:
        def run(start: Prefill, seed: int) -> Row:
            result = speculate(
                *(self.target, drafter, start.prompts, self.policy, gamma, self.max_new_tokens, self.generator(seed)),
                prefill=start,
                whole=True,
            )
            return {**settings, **generation_row("speculative", result)}

        return run

    def _transformers(self, peer: TransformersPeer) -> Run:
        def run(start: Prefill, seed: int) -> Row:
            result = peer.run(start.prompts[0], self.policy, self.max_new_tokens, seed)
            return {
                "drafter": "transformers",
                "method": "transformers",
                "new_tokens": result.decode_tokens,
                "prefill_s": result.prefill_s,
                "decode_s": result.decode_s,
            }

        return run

    def read(self, tokens: Sequence[int], stretches: int = 1) -> Prefill:
        """A text to start from, with room for `stretches` of the answer."""
        room = (stretches + 1) * self.max_new_tokens + self.slots
        return Prefill(self.target, [list(tokens)], room, self.depths)

    def answer(self, start: Prefill, seed: int) -> list[int]:
        """What vanilla decoding answers next."""
        new = self.max_new_tokens
        return vanilla(self.target, start.prompts, self.policy, new, self.generator(seed), prefill=start).tokens[0]

    def reference(self, start: Prefill) -> float:
        """Seconds of a vanilla step right behind the text, the median of a few."""
        steps = []
        for _ in range(disturbance.REFERENCE_STEPS):
            begin = now(self.target.device)
            vanilla(self.target, start.prompts, self.policy, 1, self.generator(0), prefill=start)
            steps.append(now(self.target.device) - begin)
        self.references.append(statistics.median(steps))
        return self.references[-1]

    def time(self, block: Block, start: Prefill, seed: int, before: float | None = None) -> float:
        """Run a block's methods one after the other, a reference around each; returns the last one.

        `before` is the reference behind the block that has just ended, if there is one.
        """
        block.rows, block.attempts = [], block.attempts + 1
        before = self.reference(start) if before is None else before
        for method in block.methods:
            if self.target.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(self.target.device)
            for _ in range(3):  # a step that has to be captured first is no decoding: the same run again has it
                counters = Counters.now()
                row = self.runs[method](start, seed)
                row |= Counters.now().since(counters)
                if not row.get("captures"):
                    break
            after = self.reference(start)
            row |= {"reference_before_s": before, "reference_after_s": after}
            row |= {"context": len(start.prompts[0]) - 1 + row["new_tokens"] / 2}
            row |= {"peak_memory_mb": peak_memory_mb(self.target.device)}
            block.rows.append(row)
            before = after
        return before

    def warm_up(self, prompts: Sequence[Prompt], repeats: int) -> None:
        """Run every method once, uncounted: with captured steps on a text of each window that will be timed."""
        longest = max(prompts, key=lambda prompt: len(prompt.tokens))
        chosen = {0: longest}  # first, so that no cache grows later
        if self.target.replays is not None:
            for prompt in sorted(prompts, key=lambda prompt: len(prompt.tokens)):
                ends = range(len(prompt.tokens), len(prompt.tokens) + (repeats + 1) * self.max_new_tokens + self.slots)
                for end in ends:
                    chosen.setdefault(window_of(end), prompt)
        for prompt in dict.fromkeys(chosen.values()):
            start = self.read(prompt.tokens, repeats)
            for repeat in range(repeats if self.target.replays is not None else 1):
                for run in self.runs:
                    run(start, 0)
                self.reference(start)
                if repeat + 1 < repeats:
                    start.extend(self.answer(start, 0))
        self.references.clear()


def blocks_of(prompt: Prompt, repeat: int, drafts: Sequence[int], others: Sequence[int], seed: int) -> list[Block]:
    """The methods in an order of this prompt and repeat: two drafts around a vanilla run (0) each, then the others."""
    order = random.Random(f"{seed} {prompt.id} {repeat} order")
    mixed = order.sample(drafts, len(drafts))
    groups = [[first, 0, *second] for first, *second in (mixed[at : at + 2] for at in range(0, len(mixed), 2))]
    groups += [[0, other] for other in others]
    return [Block(prompt, repeat, number, methods) for number, methods in enumerate(order.sample(groups, len(groups)))]


def speed_rows(
    target: Llama,
    drafters: Sequence[tuple[Drafter, int, Mapping[str, Any]]],
    transformers: TransformersPeer | None,
    prompts: Sequence[Prompt],
    policy: Policy,
    max_new_tokens: int,
    repeats: int,
    seed: int,
    patience: Patience = Patience(),
    say: Callable[[str], object] = lambda line: None,
) -> Iterator[Row]:
    """Time every method on every stretch of every prompt's answer; a row a run, disturbed ones timed again.

    A prompt's order and seeds are its own, whichever other prompts are timed beside it. `drafters` are (drafter,
    gamma, settings columns). End-of-sequence is ignored. Vanilla returns `max_new_tokens` (transformers too, of
    which the first counts as prefill), a draft's run as many and at most gamma more. transformers' `generate`
    reads the prompt itself and runs on the first stretch alone. All methods are run once before, uncounted. `say` is
    told how far it has come, a line a prompt.
    """
    shared = {"policy": policy.name, "dataset": next((s.get("dataset") for _, _, s in drafters), "")}
    shared |= {"threads": torch.get_num_threads(), "device": target.device.type}
    shared |= {"dtype": number_format(target)}
    timer = Timer(target, drafters, transformers, policy, max_new_tokens)
    timer.warm_up(prompts, repeats)
    others = range(1 + len(timer.drafts), len(timer.runs))
    plan = {
        prompt.id: [
            blocks_of(prompt, repeat, timer.drafts, () if repeat else others, seed) for repeat in range(repeats)
        ]
        for prompt in prompts
    }

    def seed_of(prompt: Prompt, repeat: int) -> int:
        return random.Random(f"{seed} {prompt.id} {repeat}").getrandbits(31)

    def pass_over(prompt: Prompt, chosen: Callable[[Block], bool]) -> None:
        """Time the chosen blocks of a prompt, from its first stretch to the last one needed."""
        stretches = plan[prompt.id]
        last = max(at for at, blocks in enumerate(stretches) if any(map(chosen, blocks)))
        start = timer.read(prompt.tokens, repeats)
        for repeat, blocks in enumerate(stretches[: last + 1]):
            before = None
            for block in filter(chosen, blocks):
                before = timer.time(block, start, seed_of(prompt, repeat), before)
            if repeat < last:
                start.extend(timer.answer(start, seed_of(prompt, repeat)))

    begin = time.perf_counter()
    for number, prompt in enumerate(prompts, start=1):
        pass_over(prompt, lambda block: True)
        left = (time.perf_counter() - begin) / number * (len(prompts) - number)
        say(f"speed {policy.name}: prompt {number} of {len(prompts)}, {left:.0f} s left")
    begin = time.perf_counter()
    for attempt in range(1, patience.attempts):
        quiet = disturbance.quiet_reference(timer.references)

        def again(block: Block) -> bool:
            late = time.perf_counter() - begin > 60 * patience.minutes
            return not late and block.attempts == attempt and block.disturbed(quiet)  # noqa: B023 (used within the round)

        for number, prompt in enumerate(prompts, start=1):
            if any(again(block) for blocks in plan[prompt.id] for block in blocks):
                pass_over(prompt, again)
                say(f"speed {policy.name}: disturbed runs again, round {attempt}: prompt {number} of {len(prompts)}")
    quiet = disturbance.quiet_reference(timer.references)
    for prompt in prompts:
        for blocks in plan[prompt.id]:
            for block in blocks:
                for row in block.rows:
                    told = {"prompt": prompt.id, "repeat": block.repeat, "pair": block.pair}
                    told |= {"attempts": block.attempts, "disturbed": int(disturbance.is_disturbed(row, quiet))}
                    yield {**shared, **row, **told}


def told_of(rows: Sequence[Row]) -> str:
    """How many runs stayed disturbed, in words."""
    disturbed = sum(row["disturbed"] for row in rows)
    again = sum(row["attempts"] > 1 for row in rows)
    if not disturbed and not again:
        return f"{len(rows)} timed runs, none disturbed"
    return f"{len(rows)} timed runs, {again} of them timed again, {disturbed} disturbed by other work on the machine"
