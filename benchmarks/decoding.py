"""Decoding against transformers on the same weights, and the cost of single steps; one process, interleaved.

    python benchmarks/decoding.py --target results/target/SmolLM2-135M-Instruct --data results/data/sharegpt

Prints one JSON object of medians and of ratios taken repeat by repeat.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable

import torch

from selfdraft.decoding.loop import Generation, speculate, vanilla
from selfdraft.decoding.policy import Policy, best_token
from selfdraft.drafters.exit import ExitDrafter
from selfdraft.drafters.lookup import LookupDrafter
from selfdraft.evaluation.peers import TransformersPeer
from selfdraft.models.exit import untrained_exit
from selfdraft.models.llama import Llama
from selfdraft.models.runtime import start
from selfdraft.sequences import read_prompts

GREEDY = Policy("greedy")


def step_seconds(target: Llama, context: int, tokens: int, layers: int, repeats: int) -> float:
    """Median seconds of running `tokens` tokens through `layers` layers behind `context` cached ones."""
    cache = target.new_cache(1, context + tokens)
    ids = torch.arange(tokens).view(1, -1) + 100

    def once() -> float:
        begin = time.perf_counter()
        step = target.step([context], tokens, cache.capacity)
        hidden = target.run(target.embed(ids), 0, layers, step, cache)
        if layers == target.config.n_layers:
            best_token(target.logits(hidden))
        return time.perf_counter() - begin

    return statistics.median([once() for _ in range(repeats + 5)][5:])


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--prompts", type=int, default=5)
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=40, help="of the single steps")
    parser.add_argument("--dtype", default="bfloat16", help="float32 where the processor has no bfloat16 instructions")
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    target = start(args.target, args.dtype, "cpu", args.threads)
    early, trimmed = untrained_exit(target, 8, "head"), untrained_exit(target, 8, "head")
    trimmed.trim(torch.arange(8192)).pack()
    target.pack()
    stock = TransformersPeer(args.target, target.dtype)
    prompts = [list(prompt.tokens) for prompt in read_prompts(args.data)[: args.prompts]]
    new = args.new_tokens

    def rate(result: Generation) -> float:
        return new / (result.timings.prefill_s + result.timings.decode_s)  # as theirs: prefill included

    def ours(drafter: ExitDrafter | LookupDrafter | None, gamma: int) -> Callable[[list[int]], float]:
        def run(prompt: list[int]) -> float:
            generator = torch.Generator().manual_seed(0)
            if drafter is None:
                return rate(vanilla(target, [prompt], GREEDY, new, generator))
            return rate(speculate(target, drafter, [prompt], GREEDY, gamma, new, generator))

        return run

    def theirs(**options: int) -> Callable[[list[int]], float]:
        def run(prompt: list[int]) -> float:
            begin = time.perf_counter()
            ids = torch.tensor([prompt])
            stock.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=new,
                min_new_tokens=new,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=0,
                **options,
            )
            return new / (time.perf_counter() - begin)

        return run

    methods = {
        "vanilla": ours(None, 0),
        "transformers": theirs(),
        "early exit 8": ours(ExitDrafter(target, early, adapt=True), 4),
        "early exit 8, fixed length": ours(ExitDrafter(target, early), 4),
        "transformers early exit 8": theirs(assistant_early_exit=8),
        "lookup": ours(LookupDrafter(2), 4),
        "transformers lookup": theirs(prompt_lookup_num_tokens=4),
    }
    rates: dict[str, list[float]] = {name: [] for name in methods}
    order = random.Random(0)
    for number, prompt in enumerate([prompts[0], *prompts]):
        for name in order.sample(list(methods), len(methods)):
            found = methods[name](prompt)
            if number:  # the first round warms up
                rates[name].append(found)

    def ratio(one: str, other: str) -> float:
        return round(statistics.median(a / b for a, b in zip(rates[one], rates[other], strict=True)), 3)

    n = target.config.n_layers
    single = step_seconds(target, 200, 1, n, args.repeats)
    shallow = step_seconds(target, 200, 1, early.depth, args.repeats)
    hidden = torch.randn(1, 1, target.config.hidden_size).to(target.dtype)
    head = []
    for _ in range(args.repeats):
        begin = time.perf_counter()
        best_token(trimmed.head(trimmed.norm(hidden)))
        head.append(time.perf_counter() - begin)
    report = {
        "tokens_per_second": {name: round(statistics.median(found), 1) for name, found in rates.items()},
        "vanilla / transformers": ratio("vanilla", "transformers"),
        "early exit / transformers early exit": ratio("early exit 8", "transformers early exit 8"),
        "lookup / transformers lookup": ratio("lookup", "transformers lookup"),
        "verify 9 / 1 token": round(step_seconds(target, 200, 9, n, args.repeats) / single, 3),
        "draft step at 8, 8192 words / vanilla step": round((shallow + statistics.median(head)) / single, 3),
        "step at 2000 / at 200 tokens": round(step_seconds(target, 2000, 1, n, args.repeats) / single, 3),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
