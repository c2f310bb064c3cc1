"""What a learner costs beside the decoding that it learns from: attached without updating, and learning.

    python benchmarks/online_cost.py --target results/target/SmolLM2-135M-Instruct --data results/data/sharegpt

One process, prompt by prompt, in random order: the same exit by itself, with a learner that only keeps records attached
(objective none), and learning (objective composite), with the default settings of `selfdraft dvi` but for those asked
for here. Prints one JSON object: medians over prompts of what a cycle takes attached ÷ by itself, and the seconds of
learning ÷ those of decoding, whole and by thirds of the prompts.
"""

import argparse
import json
import random
import statistics

import torch

from selfdraft.decoding.drafter import Drafter
from selfdraft.decoding.loop import Generation, speculate
from selfdraft.drafters.exit import ExitDrafter
from selfdraft.models.exit import untrained_exit
from selfdraft.models.runtime import start
from selfdraft.online.drafter import LearningDrafter
from selfdraft.online.learner import OnlineLearner
from selfdraft.online.pair import Pair
from selfdraft.online.settings import OnlineSettings
from selfdraft.sequences import read_prompts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--exit-layer", type=int, default=14)
    parser.add_argument("--capacity", default="low_rank_head")
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--max-new-tokens", type=int, default=OnlineSettings.max_new_tokens)
    parser.add_argument("--fast-batch", type=int, default=OnlineSettings.fast_batch)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    target = start(args.target, args.dtype, "cpu", args.threads)
    lines: list[str] = []

    def learner(objective: str) -> OnlineLearner:
        settings = OnlineSettings(objective=objective, max_new_tokens=args.max_new_tokens, fast_batch=args.fast_batch)
        draft = untrained_exit(target, args.exit_layer, args.capacity, torch.float32, {}, settings.seed)
        return OnlineLearner(Pair.of(draft, target), settings, lines.append)

    attached, learning = learner("none"), learner("composite")
    target.pack()
    settings = attached.settings
    drafters: dict[str, Drafter] = {
        "alone": ExitDrafter(target, attached.pair.serving),
        "attached": LearningDrafter(attached),
        "learning": LearningDrafter(learning),
    }
    prompts = [list(prompt.tokens) for prompt in read_prompts(args.data)[: args.prompts]]
    found: dict[str, list[Generation]] = {name: [] for name in drafters}
    learnt: list[float] = []  # seconds, by prompt
    order = random.Random(0)
    for number, prompt in enumerate([prompts[0], *prompts]):
        for name in order.sample(list(drafters), len(drafters)):
            before = learning.spent["learning_s"]
            result = speculate(
                target,
                drafters[name],
                [prompt],
                attached.policy,
                settings.gamma,
                settings.max_new_tokens,
                torch.Generator().manual_seed(number),
            )
            if not number:  # the first round warms up
                continue
            found[name].append(result)
            if name == "learning":
                learnt.append(learning.spent["learning_s"] - before)

    def cycle_ms(result: Generation) -> float:
        return 1e3 * result.timings.decode_s / len(result.cycles)

    for one, other in zip(found["alone"], found["attached"], strict=True):
        assert one.tokens == other.tokens, "the same draft answers otherwise with a learner attached"
    decoded = [result.timings.decode_s - seconds for result, seconds in zip(found["learning"], learnt, strict=True)]
    third = -(-len(prompts) // 3)
    ratios = [cycle_ms(one) / cycle_ms(other) for one, other in zip(found["attached"], found["alone"], strict=True)]
    report = {
        "cycle_ms": {name: round(statistics.median(map(cycle_ms, found[name])), 1) for name in ("alone", "attached")},
        "attached / alone": round(statistics.median(ratios), 4),
        "attached / alone, quartiles": [round(value, 4) for value in statistics.quantiles(ratios, n=4)[::2]],
        "learning / decoding": round(sum(learnt) / sum(decoded), 4),
        "learning / decoding, by thirds": [
            round(sum(learnt[first : first + third]) / sum(decoded[first : first + third]), 4)
            for first in range(0, len(prompts), third)
        ],
        "updates": learning.updates,
        "ms an update": round(statistics.median(json.loads(line)["learning_s"] for line in lines) * 1e3, 1),
        "records an update": statistics.median(json.loads(line)["records"] for line in lines),
        "buffer_bytes": learning.buffer.bytes,
        "prompts": len(prompts),
        "max_new_tokens": settings.max_new_tokens,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
