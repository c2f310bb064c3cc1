"""The same decoding methods in several implementations: same weights, same exit, same prompts, interleaved."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from tqdm import tqdm

from selfdraft.decoding.drafter import Drafter
from selfdraft.decoding.loop import speculate, vanilla
from selfdraft.decoding.policy import Policy
from selfdraft.evaluation.batches import groups_of
from selfdraft.models.llama import Llama
from selfdraft.sequences import Prompt

COLUMNS = (
    *("method", "implementation", "version", "dtype", "batch", "group", "new_tokens", "seconds"),
    *("cycles", "accepted", "identical", "threads", "device", "gamma", "layer", "max_ngram"),
)
GREEDY = Policy("greedy")


@dataclass
class Run:
    """New tokens of each prompt, prompts excluded; cycles and accepted draft tokens where there are any."""

    tokens: list[list[int]]
    cycles: int | None = None
    accepted: int | None = None


@dataclass(frozen=True)
class Contestant:
    """One method of one implementation: prompts and the number of new tokens in, a Run out."""

    method: str
    implementation: str
    version: str
    run: Callable[[list[list[int]], int], Run]
    largest_batch: int | None = None


@dataclass(frozen=True)
class Setting:
    """What all implementations are told alike: exit after `layer` (0-based), `gamma` drafted tokens, n-grams."""

    layer: int
    gamma: int
    max_ngram: int


def own(target: Llama, drafters: dict[str, Drafter], gamma: int, version: str) -> list[Contestant]:
    """selfdraft's contestants: vanilla, and one method a drafter."""
    generator = torch.Generator(target.device)

    def plain(prompts: list[list[int]], new: int) -> Run:
        return Run(vanilla(target, prompts, GREEDY, new, generator).tokens)

    def drafted(drafter: Drafter) -> Callable[[list[list[int]], int], Run]:
        def run(prompts: list[list[int]], new: int) -> Run:
            made = speculate(target, drafter, prompts, GREEDY, gamma, new, generator)
            return Run(made.tokens, len(made.cycles), sum(cycle.accepted for cycle in made.cycles))

        return run

    return [
        Contestant("vanilla", "selfdraft", version, plain),
        *(Contestant(name, "selfdraft", version, drafted(drafter)) for name, drafter in drafters.items()),
    ]


def of_transformers(model: Any, setting: Setting, draft_model: Any = None) -> list[Contestant]:
    """transformers' `generate`, its assisted methods told to draft exactly gamma tokens; batches for vanilla alone."""
    import transformers

    layers = model.config.num_hidden_layers
    full_passes = 0

    def count(module: Any, *_: Any) -> None:
        nonlocal full_passes
        full_passes += module.config.num_hidden_layers == layers  # an early exit drafts with the module cut short

    model.register_forward_hook(count)
    for assistant in (model, draft_model):
        if assistant is not None:
            assistant.generation_config.num_assistant_tokens = setting.gamma
            assistant.generation_config.num_assistant_tokens_schedule = "constant"
            assistant.generation_config.assistant_confidence_threshold = 0.0

    def method(**options: Any) -> Callable[[list[list[int]], int], Run]:
        def run(prompts: list[list[int]], new: int) -> Run:
            nonlocal full_passes
            longest = max(map(len, prompts))
            tokens = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts], device=model.device)
            mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=model.device)
            full_passes = 0
            out = model.generate(
                tokens,
                attention_mask=mask,
                max_new_tokens=new,
                min_new_tokens=new,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=0,
                **options,
            )
            found = out[:, longest:].tolist()
            return Run(found, full_passes, new - full_passes) if options else Run(found)

        return run

    made = {
        "vanilla": method(),
        "early exit": method(assistant_early_exit=setting.layer + 1),
        "prompt lookup": method(prompt_lookup_num_tokens=setting.gamma, max_matching_ngram_size=setting.max_ngram),
    }
    if draft_model is not None:
        made["draft model"] = method(assistant_model=draft_model)
    return [
        Contestant(name, "transformers", transformers.__version__, run, None if name == "vanilla" else 1)
        for name, run in made.items()
    ]


def of_economize(model: Any, setting: Setting, draft_folder: str | None = None) -> list[Contestant]:
    """economize on the same transformers model (optional: `pip install 'selfdraft[peers]'`); none without it."""
    if find_spec("economize") is None:
        return []
    import economize
    from economize.techniques.draft_model import DraftModelConfig
    from economize.techniques.early_exit import EarlyExitConfig
    from economize.techniques.lookup import LookupConfig

    device = model.device
    graphs = device.type == "cuda"

    def method(technique: Any, cycle_length: int) -> Callable[[list[list[int]], int], Run]:
        applied = economize.apply(model, *([] if technique is None else [technique]))
        decoding = economize.DecodeConfig(cycle_length=cycle_length, cuda_graphs=graphs)

        def run(prompts: list[list[int]], new: int) -> Run:
            texts = [torch.tensor(prompt, device=device) for prompt in prompts]
            found = applied.decode_batch(texts, new, decoding=decoding)
            tokens = [row.tokens.tolist() for row in found]
            accepted = sum(n for row in found for _, n in row.acceptance)
            # Each call of the target yields one token that was not drafted. It counts what it accepted beyond
            # the limit too, so that cycles are a few too few at most.
            return Run(tokens, sum(map(len, tokens)) - accepted, accepted) if cycle_length > 1 else Run(tokens)

        return run

    length = setting.gamma + 1
    made: dict[str, tuple[Any, int]] = {
        "vanilla": (None, 1),
        "early exit": (EarlyExitConfig(exit_layer=setting.layer + 1, head="shared"), length),
        "prompt lookup": (LookupConfig(max_ngram=setting.max_ngram), length),
    }
    if draft_folder is not None:
        made["draft model"] = (DraftModelConfig(model=draft_folder), length)
    return [Contestant(name, "economize", economize.__version__, method(*how)) for name, how in made.items()]


@torch.inference_mode()
def contest_rows(
    contestants: Sequence[Contestant],
    prompts: Sequence[Prompt],
    batch: int,
    groups: int,
    max_new_tokens: int,
    seed: int,
    fixed: dict[str, Any],
) -> Iterator[dict[str, Any]]:
    """A row per contestant and group of `batch` prompts; whole calls are timed, prefill included for all.

    `identical` is the share of a group's outputs that equal selfdraft's vanilla ones (the first contestant).
    One uncounted call of each comes first. `fixed` are columns of every row.
    """
    taking_part = [c for c in contestants if c.largest_batch is None or batch <= c.largest_batch]
    order = random.Random(seed)
    rounds = groups_of(prompts, batch, groups, seed)
    for number, group in tqdm([(None, rounds[0]), *enumerate(rounds)], unit="batch", desc="peers", disable=None):
        texts = [list(prompt.tokens) for prompt in group]
        found: dict[int, tuple[float, Run]] = {}
        for which in order.sample(range(len(taking_part)), len(taking_part)):
            found[which] = timed(taking_part[which], texts, max_new_tokens)
        if number is None:
            continue
        truth = found[0][1].tokens
        for which, (seconds, run) in sorted(found.items()):
            same = [ours == theirs for ours, theirs in zip(truth, run.tokens, strict=True)]
            yield {
                **fixed,
                "method": taking_part[which].method,
                "implementation": taking_part[which].implementation,
                "version": taking_part[which].version,
                "batch": batch,
                "group": number,
                "new_tokens": sum(map(len, run.tokens)),
                "seconds": seconds,
                "cycles": run.cycles,
                "accepted": run.accepted,
                "identical": sum(same) / len(same),
                "threads": torch.get_num_threads(),
            }


def timed(contestant: Contestant, prompts: list[list[int]], new: int) -> tuple[float, Run]:
    """Seconds of one call, the device's work included, and what it returned."""
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    wait()
    begin = time.perf_counter()
    run = contestant.run(prompts, new)
    wait()
    return time.perf_counter() - begin, run
