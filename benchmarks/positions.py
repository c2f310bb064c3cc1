"""What a draft accepts from every position of an answer, and from the positions where the loop's cycles begin.

    python benchmarks/positions.py --target results/target/SmolLM2-135M-Instruct --data results/data/sharegpt \
      --drafter '{"kind": "trained_elsewhere", "folder": "drafters/SmolLM2-135M-Instruct/eagle3"}'

A trainer looks at every position; the loop begins a cycle behind a token that was not accepted, and passes over what
was. Here the drafter drafts behind every token of the target's own greedy answers and nothing of it is taken, so that
each position is measured behind the target's own states. A Markdown table, in accepted tokens of a draft: the mean
over positions, over the cycles that the loop would make of them, and over the cycles that it makes.
"""

import argparse
import json
from typing import Any

import numpy as np
import torch

from selfdraft.decoding.drafter import Draft, Drafter
from selfdraft.decoding.drafting import Drafting
from selfdraft.decoding.loop import speculate
from selfdraft.decoding.outcome import Outcome
from selfdraft.decoding.policy import Policy
from selfdraft.decoding.session import Session
from selfdraft.drafters import drafter_of
from selfdraft.models.llama import Llama
from selfdraft.models.runtime import start
from selfdraft.sequences import some_prompts


class Looked:
    """A drafter whose drafts are noted and not proposed."""

    def __init__(self, inner: Drafter) -> None:
        self.inner, self.depths, self.learns = inner, inner.depths, inner.learns
        self.seen: list[list[int]] = []

    def start(self, session: Session) -> None:
        self.seen = []
        self.inner.start(session)

    def draft(self, session: Session, gamma: int, policy: Policy, generator: torch.Generator) -> Draft:
        made = self.inner.draft(session, gamma, policy, generator)
        self.seen.append(made.tokens[0].tolist())
        return Draft(made.tokens, made.q, torch.zeros(1, dtype=torch.int64))

    def observe(self, outcome: Outcome) -> None:
        self.inner.observe(outcome)


def accepted_from(target: Llama, drafter: Drafter, prompt: list[int], gamma: int, new: int) -> list[int]:
    """How many tokens of a draft of `gamma` the target takes, from each position that has as many behind it."""
    looked = Looked(drafter)
    policy, generator = Policy("greedy"), torch.Generator()
    text = speculate(target, looked, [prompt], policy, gamma, new, generator, whole=True).tokens[0]
    found = []
    for at in range(len(text) - gamma):
        right = np.equal(looked.seen[at], text[at : at + gamma])
        found.append(int(right.cumprod().sum()))
    return found


def cycles_of(accepted: list[int]) -> list[int]:
    """Those positions that a loop stops at, which moves on by what was accepted and one more token."""
    at, found = 0, []
    while at < len(accepted):
        found.append(accepted[at])
        at += accepted[at] + 1
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--drafter", required=True, help="an entry of the config's `drafters`, as JSON")
    parser.add_argument("--gamma", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--new-tokens", type=int, nargs="+", default=[40, 128])
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()
    target = start(args.target, args.dtype, "cpu", None)
    drafter = drafter_of("drafter", json.loads(args.drafter), target, Drafting("fixed"), None)
    target.pack()
    prompts = [list(prompt.tokens) for prompt in some_prompts(args.data, args.prompts, "acceptance")]
    print("| tokens of each answer | positions | accepted, every position | cycles of them | the loop's cycles |")
    print("|---|---|---|---|---|")
    for new in args.new_tokens:
        found = [accepted_from(target, drafter, prompt, args.gamma, new) for prompt in prompts]
        every, stops = (np.concatenate([how(one) for one in found]) for how in (list, cycles_of))
        made: list[Any] = []
        for prompt in prompts:
            result = speculate(target, drafter, [prompt], Policy("greedy"), args.gamma, new, torch.Generator())
            made += [cycle.accepted for cycle in result.cycles if not cycle.cut]
        cells = [new, len(every), *(f"{values.mean():.3f}" for values in (every, stops, np.array(made)))]
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
