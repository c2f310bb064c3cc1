"""Speed against the length of the answer: whole generations of each length, a vanilla run beside every draft's run.

A prompt is answered at all lengths before the next one, so that a slow hour of the machine meets every length. All that
is sampled has the prompt's own seed: the vanilla answer of a shorter length is the beginning of that of a longer one.
"""

import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from tqdm import tqdm

from selfdraft.decoding.drafter import Drafter
from selfdraft.decoding.policy import Policy
from selfdraft.errors import StudyError
from selfdraft.evaluation import disturbance, speed
from selfdraft.evaluation.number_format import number_format
from selfdraft.evaluation.speed import Block, Patience, Row, Timer, blocks_of
from selfdraft.models.llama import Llama
from selfdraft.sequences import Prompt

COLUMNS = (*("length" if name == "repeat" else name for name in speed.COLUMNS), "target_calls")


def check_lengths(lengths: Sequence[int], option: str) -> None:
    """Raise StudyError naming `option` unless the lengths ascend from at least 1, each once."""
    for length in lengths:
        if length < 1:
            raise StudyError(f"{option}: {length} is not ≥ 1")
    if list(lengths) != sorted(set(lengths)):
        found = " ".join(map(str, lengths))
        raise StudyError(f"{option}: found {found}, ascending lengths without repeats are right")


def check_context(prompts: Sequence[Prompt], longest: int, gamma: int, context: int, option: str) -> None:
    """Raise StudyError naming `option` if the longest answer does not fit behind the longest prompt in `context`."""
    prompt = max(len(prompt.tokens) for prompt in prompts)
    if (room := context - prompt - gamma) < longest:
        raise StudyError(
            f"{option}: {longest} does not fit into the target's context of {context}; "
            f"{max(room, 0)} is the longest beside a prompt of {prompt} tokens and gamma {gamma}"
        )


def warm_up(timer: Timer, prompts: Sequence[Prompt], lengths: Sequence[int]) -> None:
    """Run every method once, uncounted; with captured steps at the greatest length, the shortest prompt's too."""
    by_tokens = sorted(prompts, key=lambda prompt: -len(prompt.tokens))  # the longest first: no cache grows later
    captured = timer.target.replays is not None
    timer.max_new_tokens = lengths[-1] if captured else lengths[0]
    for prompt in dict.fromkeys((by_tokens[0], by_tokens[-1])) if captured else by_tokens[:1]:
        start = timer.read(prompt.tokens, 0)
        for run in timer.runs:
            run(start, 0)
        timer.reference(start)
    timer.references.clear()


def length_rows(
    target: Llama,
    drafters: Sequence[tuple[Drafter, int, Mapping[str, Any]]],
    prompts: Sequence[Prompt],
    policy: Policy,
    lengths: Sequence[int],
    seed: int,
    patience: Patience,
) -> Iterator[Row]:
    """Time every drafter and vanilla decoding on whole answers of each length; a row a run, disturbed ones timed again.

    `drafters` are (drafter, gamma, settings columns); `lengths` as `check_lengths` wants them. End-of-sequence is
    ignored. Vanilla returns `length` tokens, a draft's run as many and at most gamma more, as no draft is cut short;
    the prefill is timed apart. Two drafts stand around one vanilla run, a `pair` of theirs each.
    """
    shared = {"policy": policy.name, "dataset": next((s.get("dataset") for _, _, s in drafters), "")}
    shared |= {"threads": torch.get_num_threads(), "device": target.device.type}
    shared |= {"dtype": number_format(target)}
    timer = Timer(target, drafters, None, policy, lengths[-1])
    warm_up(timer, prompts, lengths)
    # Where `speed` has several stretches of an answer, the blocks here have several lengths of it.
    blocks = [
        block for prompt in prompts for length in lengths for block in blocks_of(prompt, length, timer.drafts, (), seed)
    ]

    def time_all(chosen: Iterable[Block]) -> None:
        for block in chosen:
            timer.max_new_tokens = block.repeat
            own_seed = random.Random(f"{seed} {block.prompt.id}").getrandbits(31)
            timer.time(block, timer.read(block.prompt.tokens, 0), own_seed)

    time_all(tqdm(blocks, unit="run", desc=f"lengths {policy.name}", disable=None))
    begin = time.perf_counter()
    for attempt in range(1, patience.attempts):
        quiet = disturbance.quiet_reference(timer.references)
        again = [block for block in blocks if block.attempts == attempt and block.disturbed(quiet)]
        time_all(block for block in again if time.perf_counter() - begin <= 60 * patience.minutes)
    quiet = disturbance.quiet_reference(timer.references)
    for block in blocks:
        for row in block.rows:
            told = {"length": block.repeat, "prompt": block.prompt.id, "pair": block.pair, "attempts": block.attempts}
            told |= {"disturbed": int(disturbance.is_disturbed(row, quiet))}
            # A cycle has one call of the target; vanilla decoding waits for the device after each of its own.
            told |= {"target_calls": row["cycles"] if row["method"] == "speculative" else row["waits"]}
            yield {**shared, **row, **told}
