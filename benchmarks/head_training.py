"""Tokens per second of head training from captured states: real sizes, random states.

    python benchmarks/head_training.py --target results/target/SmolLM2-135M-Instruct

A "token" is a label that is trained on. Prints one JSON object; the rate is the median of the steps.
"""

import argparse
import json
import statistics
import time

import torch

from selfdraft.models.exit import untrained_exit
from selfdraft.models.runtime import start
from selfdraft.training.losses import Objective, head_loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", required=True)
    parser.add_argument("--tokens-per-step", type=int, default=256)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    target = start(args.target, "bfloat16", threads=args.threads)
    draft = untrained_exit(target, target.config.n_layers // 2, "head", torch.float32)
    for parameter in draft.parameters():
        parameter.requires_grad_(True)
    optimiser = torch.optim.AdamW(draft.parameters(), lr=1e-6, fused=True)
    generator = torch.Generator().manual_seed(0)
    shape = (args.tokens_per_step, target.config.hidden_size)
    shared = torch.randn(shape, generator=generator).bfloat16()
    final = target.norm(torch.randn(shape, generator=generator).bfloat16()).detach()
    labels = torch.randint(0, target.config.vocab_size, shape[:1], generator=generator)
    rates = []
    for _ in range(args.steps):
        begin = time.perf_counter()
        loss, _ = head_loss(draft.norm(shared), draft.head.weight, final, target.head.weight, labels, Objective(1.0))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(draft.parameters(), 1.0)
        optimiser.step()
        rates.append(args.tokens_per_step / (time.perf_counter() - begin))
    rates = rates[2:]
    report = {
        "threads": torch.get_num_threads(),
        "tokens_per_step": args.tokens_per_step,
        "tokens_per_second": round(statistics.median(rates), 1),
        "lowest": round(min(rates), 1),
        "highest": round(max(rates), 1),
        "torch": torch.__version__,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
