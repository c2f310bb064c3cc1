"""`generate --mode comprehensive`: every way to decode with a folder of heads, on the same prompts, in one table."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from selfdraft.commands.modes import calibration_in, joint_limit, read_heads
from selfdraft.errors import StudyError

if TYPE_CHECKING:
    import torch
    from rich.table import Table

    from selfdraft.decoding.drafter import Drafter
    from selfdraft.decoding.policy import Policy
    from selfdraft.evaluation.unverified import Leaving
    from selfdraft.models.llama import Llama


@dataclass
class Sums:
    """What one way to decode did on all prompts. `calls`: of the whole target; `layers`: tokens by the layer they left
    at, of what is verified those drafted."""

    tokens: int = 0
    seconds: float = 0.0
    calls: int = 0
    drafted: int = 0
    accepted: int = 0
    layers: dict[int, int] = field(default_factory=dict)
    identical: int = 0
    disagreeing: int = 0
    nats: float = 0.0

    def left(self, layers: dict[int, int]) -> None:
        """Add tokens by the layer of the head that they left at."""
        for layer, count in layers.items():
            self.layers[layer] = self.layers.get(layer, 0) + count

    @property
    def mean_layer(self) -> float | None:
        count = sum(self.layers.values())
        return sum(layer * tokens for layer, tokens in self.layers.items()) / count if count else None


class Way(NamedTuple):
    """One way to decode: the mode, its setting, and what decodes one prompt, adds to the sums and gives the answer."""

    mode: str
    setting: str
    decode: Callable[[list[int], "torch.Generator", Sums], list[int]]


def all_ways(
    args: argparse.Namespace, target: "Llama", policy: "Policy", eos: frozenset[int]
) -> tuple[list[Way], list[str]]:
    """Every way to decode with a folder of heads, and what is said of those that its calibration does not allow.

    Packs the target and the heads, which all ways share.
    """
    from selfdraft.calibration.record import thresholds_of
    from selfdraft.decoding.loop import speculate, vanilla
    from selfdraft.drafters.adaptive_early_exit import LEVEL, MEASURE, RULE, AdaptiveDrafter
    from selfdraft.drafters.dynamic import DynamicDrafter
    from selfdraft.drafters.exit import ExitDrafter
    from selfdraft.evaluation.unverified import Leaving, unverified

    exits, folder = read_heads(args, target, "comprehensive")
    target.pack()
    exits = [made.pack() for made in exits]
    most, last, missing = args.max_new_tokens, target.config.n_layers - 1, []

    def full(prompt: list[int], generator: "torch.Generator", sums: Sums) -> list[int]:
        made = vanilla(target, [prompt], policy, most, generator, eos)
        (tokens,) = made.tokens
        sums.seconds, sums.calls = sums.seconds + made.timings.decode_s, sums.calls + len(tokens)
        sums.left({last: len(tokens)})
        return tokens

    def verified(drafter: "Drafter", layer: int | None = None) -> Callable[..., list[int]]:
        def decode(prompt: list[int], generator: "torch.Generator", sums: Sums) -> list[int]:
            made = speculate(target, drafter, [prompt], policy, args.gamma, most, generator, eos)
            drafted = sum(cycle.drafted for cycle in made.cycles)
            sums.seconds, sums.calls = sums.seconds + made.timings.decode_s, sums.calls + len(made.cycles)
            sums.drafted += drafted
            sums.accepted += sum(cycle.accepted for cycle in made.cycles)
            sums.left({layer: drafted} if layer is not None else getattr(drafter, "left", {}))
            return made.tokens[0]

        return decode

    def lossy(leaving: "Leaving") -> Callable[..., list[int]]:
        def decode(prompt: list[int], generator: "torch.Generator", sums: Sums) -> list[int]:
            made = unverified(target, leaving, prompt, policy, most, generator, eos)
            sums.seconds, sums.calls = sums.seconds + made.decode_s, sums.calls + made.full
            sums.left({layer: made.layers.count(layer) for layer in set(made.layers)})
            return made.tokens

        return decode

    ways = [Way("full", "", full)]
    one = [made for made in exits if args.head in (None, made.layer)]
    ways += [Way("fixed_exit", f"layer {made.layer}", lossy(Leaving(target, [(made, None)]))) for made in one]
    ways += [Way("early_exit", f"layer {made.layer}", verified(ExitDrafter(target, made), made.layer)) for made in one]
    level, rule = LEVEL if args.accuracy_level is None else args.accuracy_level, args.rule or RULE
    try:
        limits = thresholds_of(calibration_in(folder, target), level, MEASURE, rule, "adaptive_early_exit")
        asked = [(made, limit) for made in exits if (limit := limits.get(made.layer)) is not None]
        ways.append(Way("adaptive_early_exit", f"at {level:g}", verified(AdaptiveDrafter(target, asked))))
    except StudyError as error:
        missing.append(str(error))
    try:
        limit, told = joint_limit(args, folder, target)
        ways.append(Way("lossy_adaptive", told, lossy(Leaving(target, [(made, limit) for made in exits]))))
    except StudyError as error:
        missing.append(str(error))
    return [*ways, Way("dynamic", "", verified(DynamicDrafter(target, exits)))], missing


def compare(
    args: argparse.Namespace,
    target: "Llama",
    ways: Sequence[Way],
    prompts: Sequence[list[int]],
) -> list[Sums]:
    """All ways on each prompt, one after the other, so that what disturbs the machine disturbs all alike."""
    import torch

    from selfdraft.evaluation.unverified import judged

    def generator() -> torch.Generator:
        return torch.Generator(target.device).manual_seed(args.seed)

    found = [Sums() for _ in ways]
    for way in ways:
        way.decode(prompts[0], generator(), Sums())  # the first steps of a process are slow
    for prompt in prompts:
        truth: list[int] = []
        for way, sums in zip(ways, found, strict=True):
            answer = way.decode(prompt, generator(), sums)
            truth = truth or answer
            judgement = judged(target, prompt, answer)
            sums.tokens += len(answer)
            sums.identical += answer == truth
            sums.disagreeing += judgement.disagreeing
            sums.nats += judgement.nats
    return found


def table_of(ways: Sequence[Way], found: Sequence[Sums], prompts: int, greedy: bool) -> "Table":
    """A row a way; the first one is the target alone, which speeds are compared with. `greedy`: so are answers."""
    import math

    from rich.table import Table

    base = found[0].tokens / found[0].seconds
    titles = ["mode", "", "tokens/s", "speedup", "target calls/token", "accept rate", "mean exit layer"]
    table = Table(*titles, "identical", "not target's", "perplexity")
    for way, sums in zip(ways, found, strict=True):
        rate, mean = sums.tokens / sums.seconds, sums.mean_layer
        table.add_row(
            *(way.mode, way.setting, f"{rate:.1f}", f"{rate / base:.2f}", f"{sums.calls / sums.tokens:.2f}"),
            f"{sums.accepted / sums.drafted:.2f}" if sums.drafted else "–",
            "–" if mean is None else f"{mean:.1f}",
            *(f"{sums.identical}/{prompts}" if greedy else "–", f"{sums.disagreeing / sums.tokens:.1%}"),
            f"{math.exp(sums.nats / sums.tokens):.2f}",
        )
    return table
