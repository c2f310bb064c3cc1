"""Ways to decode, verified or not, on the same prompts one after the other: what each did on each prompt."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from selfdraft.decoding.drafter import Drafter
from selfdraft.decoding.loop import speculate, vanilla
from selfdraft.decoding.policy import Policy
from selfdraft.evaluation.unverified import Leaving, judged, unverified
from selfdraft.models.llama import Llama


@dataclass
class Sums:
    """What one way to decode did on one prompt.

    calls: of the whole target; left, layers: tokens of which the layer is known that they left after (of what is
    verified those drafted), and Σ of these layers; identical: whether the answer is that of the first way.
    """

    tokens: int = 0
    seconds: float = 0.0
    calls: int = 0
    drafted: int = 0
    accepted: int = 0
    left: int = 0
    layers: int = 0
    identical: bool = False
    disagreeing: int = 0
    nats: float = 0.0

    def leave(self, counts: Mapping[int, int]) -> None:
        """Add tokens by the layer that they left after."""
        self.left += sum(counts.values())
        self.layers += sum(layer * count for layer, count in counts.items())


Decode = Callable[[list[int], torch.Generator, Sums], list[int]]  # decodes one prompt, adds to its sums; the answer


class Way(NamedTuple):
    """One way to decode: the mode and its setting, as they are called, and what decodes."""

    mode: str
    setting: str
    decode: Decode


@dataclass(frozen=True)
class Decoding:
    """What all ways share: the packed target, the policy, the longest answer, and the tokens that end it."""

    target: Llama
    policy: Policy
    most: int
    eos: frozenset[int] = frozenset()

    def full(self) -> Decode:
        """The target alone."""
        last = self.target.config.n_layers - 1

        def decode(prompt: list[int], generator: torch.Generator, sums: Sums) -> list[int]:
            made = vanilla(self.target, [prompt], self.policy, self.most, generator, self.eos)
            (tokens,) = made.tokens
            sums.seconds, sums.calls = sums.seconds + made.timings.decode_s, sums.calls + len(tokens)
            sums.leave({last: len(tokens)})
            return tokens

        return decode

    def verified(self, drafter: Drafter, gamma: int, layer: int | None = None) -> Decode:
        """Drafts of at most gamma tokens that the target verifies; `layer` of a drafter that is one exit."""

        def decode(prompt: list[int], generator: torch.Generator, sums: Sums) -> list[int]:
            made = speculate(self.target, drafter, [prompt], self.policy, gamma, self.most, generator, self.eos)
            drafted = sum(cycle.drafted for cycle in made.cycles)
            sums.seconds, sums.calls = sums.seconds + made.timings.decode_s, sums.calls + len(made.cycles)
            sums.drafted += drafted
            sums.accepted += sum(cycle.accepted for cycle in made.cycles)
            left = [layer for cycle in made.cycles for layer in cycle.exit_layers]
            sums.leave({layer: drafted} if layer is not None else {one: left.count(one) for one in set(left)})
            return made.tokens[0]

        return decode

    def lossy(self, leaving: Leaving) -> Decode:
        """Tokens that leave early, which nobody verifies."""

        def decode(prompt: list[int], generator: torch.Generator, sums: Sums) -> list[int]:
            made = unverified(self.target, leaving, prompt, self.policy, self.most, generator, self.eos)
            sums.seconds, sums.calls = sums.seconds + made.decode_s, sums.calls + made.full
            sums.leave({layer: made.layers.count(layer) for layer in set(made.layers)})
            return made.tokens

        return decode

    def compare(
        self, ways: Sequence[Way], prompts: Sequence[list[int]], seed: int, repeats: int = 1
    ) -> list[list[Sums]]:
        """What each way did on each prompt; all decode one prompt before the next, each time another one first.

        Each decodes a prompt `repeats` times, which are added up. Answers are judged by the target in a pass of its
        own, which is not timed.
        """

        def generator() -> torch.Generator:
            return torch.Generator(self.target.device).manual_seed(seed)

        found: list[list[Sums]] = [[] for _ in ways]
        for way in ways:
            way.decode(prompts[0], generator(), Sums())  # the first steps of a process are slow
        turn = 0
        for prompt in prompts:
            answers: list[list[int]] = [[] for _ in ways]
            made = [Sums() for _ in ways]
            for _ in range(repeats):
                for place in [*range(turn, len(ways)), *range(turn)]:
                    answers[place] = answer = ways[place].decode(prompt, generator(), made[place])
                    judgement = judged(self.target, prompt, answer)
                    made[place].tokens += len(answer)
                    made[place].disagreeing += judgement.disagreeing
                    made[place].nats += judgement.nats
                turn = (turn + 1) % len(ways)
            for sums, answer, of_way in zip(made, answers, found, strict=True):
                sums.identical = answer == answers[0]
                of_way.append(sums)
        return found
