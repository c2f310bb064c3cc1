"""Decode times of drafts, vanilla and transformers, interleaved prompt by prompt in one process."""

import random
import resource
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from tqdm import tqdm

from selfdraft.decoding.drafter import Drafter
from selfdraft.decoding.loop import Generation, speculate, vanilla
from selfdraft.decoding.policy import Policy
from selfdraft.evaluation.peers import TransformersPeer
from selfdraft.evaluation.rows import SETTINGS
from selfdraft.models.llama import Llama
from selfdraft.sequences import Prompt

COLUMNS = (
    *SETTINGS,
    *("method", "prompt", "repeat", "new_tokens", "prefill_s", "decode_s", "cycles", "accepted"),
    *("draft_s", "verify_s", "accept_s", "bytes_read", "peak_memory_mb", "dtype", "threads", "device"),
)


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory in MiB: the allocator's since its last reset on CUDA; on the CPU the resident set of the
    whole process so far, transformers' copy of the model included."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def generation_row(method: str, result: Generation) -> dict[str, Any]:
    """The measured cells of one generation of one prompt."""
    row: dict[str, Any] = {
        "method": method,
        "new_tokens": len(result.tokens[0]),
        "prefill_s": result.timings.prefill_s,
        "decode_s": result.timings.decode_s,
        "bytes_read": result.timings.bytes_read,
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


def speed_rows(
    target: Llama,
    drafters: Sequence[tuple[Drafter, int, Mapping[str, Any]]],
    transformers: TransformersPeer | None,
    prompts: Sequence[Prompt],
    policy: Policy,
    max_new_tokens: int,
    repeats: int,
    seed: int,
) -> Iterator[dict[str, Any]]:
    """Time every method on every prompt, in an order shuffled anew for each prompt and repeat.

    A prompt's order and seed are its own, whichever other prompts are timed beside it.
    `drafters` are (drafter, gamma, settings columns). End-of-sequence is ignored: every method
    returns exactly `max_new_tokens` (of transformers' the first counts as prefill). One uncounted
    generation of each method comes first.
    """
    shared = {"policy": policy.name, "dataset": next((s.get("dataset") for _, _, s in drafters), "")}
    shared |= {"threads": torch.get_num_threads(), "device": target.device.type}
    shared |= {"dtype": str(target.dtype).removeprefix("torch.")}

    run_seed = seed  # of the present prompt and repeat, the same for all methods

    def generator() -> torch.Generator:
        return torch.Generator(target.device).manual_seed(run_seed)

    def run_vanilla(prompt: Prompt) -> dict[str, Any]:
        result = vanilla(target, [list(prompt.tokens)], policy, max_new_tokens, generator())
        return {"drafter": "vanilla", **generation_row("vanilla", result)}

    def run_draft(drafter: Drafter, gamma: int, settings: Mapping[str, Any]) -> Callable[[Prompt], dict[str, Any]]:
        def run(prompt: Prompt) -> dict[str, Any]:
            result = speculate(target, drafter, [list(prompt.tokens)], policy, gamma, max_new_tokens, generator())
            return {**settings, **generation_row("speculative", result)}

        return run

    def run_transformers(prompt: Prompt) -> dict[str, Any]:
        assert transformers is not None
        result = transformers.run(prompt.tokens, policy, max_new_tokens, run_seed)
        return {
            "drafter": "transformers",
            "method": "transformers",
            "new_tokens": result.decode_tokens,
            "prefill_s": result.prefill_s,
            "decode_s": result.decode_s,
        }

    methods: list[Callable[[Prompt], dict[str, Any]]] = [run_vanilla]
    methods += [run_draft(*drafter) for drafter in drafters]
    if transformers is not None:
        methods.append(run_transformers)
    for method in methods:
        method(prompts[0])
    rounds = [(prompt, repeat) for repeat in range(repeats) for prompt in prompts]
    for prompt, repeat in tqdm(rounds, unit="prompt", desc=f"speed {policy.name}", disable=None):
        run_seed = random.Random(f"{seed} {prompt.id} {repeat}").getrandbits(31)
        order = random.Random(f"{seed} {prompt.id} {repeat} order")
        for method in order.sample(methods, len(methods)):
            if target.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(target.device)
            row = method(prompt)
            yield {
                **shared,
                **row,
                "prompt": prompt.id,
                "repeat": repeat,
                "peak_memory_mb": peak_memory_mb(target.device),
            }
