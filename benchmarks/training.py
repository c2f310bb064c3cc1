"""What training costs: tokens per second of each capacity, a sweep against independent runs, the loss's memory.

    python benchmarks/training.py --target results/target/SmolLM2-135M-Instruct --data results/data/sharegpt

A "token" is a label that is trained on. Real states of real text, the default study's settings. Rates are
medians over rounds, in each of which everything runs once. Prints one JSON object.
"""

import argparse
import gc
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from selfdraft.capacities import CAPACITIES, shared_depth
from selfdraft.models.exit import untrained_exit
from selfdraft.models.runtime import start
from selfdraft.sequences import Sequences, read_sequences
from selfdraft.training.capture import capture, read_states
from selfdraft.training.losses import Objective, head_losses
from selfdraft.training.settings import Settings
from selfdraft.training.states import CapturedStates, ComputedStates
from selfdraft.training.trainer import Trainer

SWEEPS = {
    name: [(layer, capacity) for layer in (6, 14, 21, 29) for capacity in pair]
    for name, pair in {"own heads": ("head", "head_block"), "frozen heads": ("translator", "adapter")}.items()
}


def beginning(sequences, tokens):
    """The first sequences of a split, until there are that many tokens."""
    count = int(np.searchsorted(sequences.offsets, tokens)) or 1
    end = int(sequences.offsets[count])
    return Sequences(sequences.tokens[:end], sequences.mask[:end], sequences.offsets[: count + 1])


class Bench:
    """A target, and the beginning of the text."""

    def __init__(self, args):
        self.args = args
        self.settings = Settings(evaluations=1)
        self.target = start(args.target, "bfloat16", "cpu", args.threads)
        self.text = {
            "train": beginning(read_sequences(args.data, "train"), args.tokens),
            "validation": beginning(read_sequences(args.data, "validation"), args.tokens // 30),
        }

    def captured(self, depths, folder):
        """Seconds of the teacher's pass, and the states of each split."""
        packed = start(self.args.target, "bfloat16", "cpu", self.args.threads).pack()
        begin = time.perf_counter()
        capture(packed, self.text, depths, folder)
        seconds = time.perf_counter() - begin
        last = self.target.config.n_layers
        return seconds, {
            split: CapturedStates(
                text,
                {depth: read_states(folder, depth, split, self.target, text) for depth in depths},
                read_states(folder, last, split, self.target, text),
                self.target,
            )
            for split, text in self.text.items()
        }

    def computed(self):
        return {split: ComputedStates(text, self.target, self.target) for split, text in self.text.items()}

    def train(self, chosen, states, **settings):
        """Seconds, with the held-out passes, and tokens per second of the steps alone."""
        drafts = [untrained_exit(self.target, layer, capacity, torch.float32) for layer, capacity in chosen]
        begin = time.perf_counter()
        summaries = Trainer(
            self.target,
            self.target,
            drafts,
            [1.0] * len(drafts),
            states["train"],
            states["validation"],
            replace(self.settings, **settings),
            [lambda line: None] * len(drafts),
        ).run()
        return time.perf_counter() - begin, summaries[0]["tokens_per_second"]


def middle(values):
    return {
        "median": round(statistics.median(values), 3),
        "lowest": round(min(values), 3),
        "highest": round(max(values), 3),
    }


def capacities(bench, rounds, layer):
    """Tokens per second of each capacity, offline and online."""
    found = {(capacity, mode): [] for capacity in CAPACITIES for mode in ("offline", "online")}
    with tempfile.TemporaryDirectory() as folder:
        depths = sorted({shared_depth(layer, capacity) for capacity in CAPACITIES})
        _, offline = bench.captured(depths, f"{folder}/states")
        for _ in range(rounds):
            for capacity in CAPACITIES:
                for mode, states in (("offline", offline), ("online", bench.computed())):
                    found[capacity, mode].append(bench.train([(layer, capacity)], states)[1])
    return {f"{capacity} {mode}": middle(rates) for (capacity, mode), rates in found.items()}


def sweep(bench, rounds, drafts):
    """Eight checkpoints: one pass of the teacher and one over its states, eight runs over them, eight runs online."""
    depths = sorted({shared_depth(*draft) for draft in drafts})
    found = {"together": [], "one by one": [], "online": [], "teacher's pass": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            seconds, offline = bench.captured(depths, f"{folder}/states")
            found["teacher's pass"].append(seconds)
            found["together"].append(seconds + bench.train(drafts, offline)[0])
            found["one by one"].append(seconds + sum(bench.train([draft], offline)[0] for draft in drafts))
        found["online"].append(sum(bench.train([draft], bench.computed())[0] for draft in drafts))
        gc.collect()
    ratios = {
        f"online / {name}": middle([a / b for a, b in zip(found["online"], found[name], strict=True)])
        for name in ("together", "one by one")
    }
    return {"seconds": {name: middle(values) for name, values in found.items()}, **ratios}


def plain_loss(hidden, weight, teacher_hidden, teacher_weight):
    """KL(teacher ‖ draft) as it is usually written."""
    log_q = F.log_softmax(F.linear(hidden, weight.to(hidden.dtype)).float(), dim=-1)
    with torch.no_grad():
        log_p = F.log_softmax(F.linear(teacher_hidden, teacher_weight).float(), dim=-1)
    return F.kl_div(log_q, log_p, reduction="sum", log_target=True)


def chunked_loss(hidden, weight, teacher_hidden, teacher_weight):
    labels = torch.zeros(len(hidden), dtype=torch.int64)
    return head_losses([[(hidden, weight)]], teacher_hidden, teacher_weight, labels, [Objective(1.0)])[0]


LOSSES = {"plain": plain_loss, "chunked": chunked_loss}


def inputs(tokens, vocab, hidden):
    """Normed states in bfloat16, a float32 master head, and the teacher's head."""
    generator = torch.Generator().manual_seed(0)
    states = [torch.randn((tokens, hidden), generator=generator).bfloat16() for _ in range(2)]
    head = (torch.randn((vocab, hidden), generator=generator) * hidden**-0.5).bfloat16()
    weight = head.float().requires_grad_()
    return states[0].requires_grad_(), weight, states[1], head


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def status_mb(key):
    """A line of the process's own status: VmRSS, what is resident now, or VmHWM, the most since the last reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{key}:"))


def memory_of(which, tokens, vocab, hidden):
    """Peak memory of one loss and its backward beyond the inputs, in MB; of it the gradients that are its result."""
    made = inputs(tokens, vocab, hidden)
    small = inputs(8, 64, 32)
    LOSSES[which](*small).backward()  # libraries set themselves up
    del small
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # begin to note the peak anew
    before = status_mb("VmRSS")
    begin = time.perf_counter()
    LOSSES[which](*made).backward()
    seconds = time.perf_counter() - begin
    gradients = sum(x.grad.numel() * x.grad.element_size() for x in made if x.grad is not None) / 2**20
    extra = status_mb("VmHWM") - before
    print(
        json.dumps({"mb": round(extra), "beyond_gradients_mb": round(extra - gradients), "seconds": round(seconds, 1)})
    )


def memory(tokens, vocab, hidden, which):
    """The same in a process of its own."""
    words = [sys.executable, __file__, "--memory-of", which, str(tokens), str(vocab), str(hidden)]
    done = subprocess.run(words, capture_output=True, text=True)
    return json.loads(done.stdout) if done.returncode == 0 else {"failed": done.returncode}


def loss_speed(rounds, tokens=512, vocab=49152, hidden=576):
    """Time of the plain loss over that of the chunked one, backward included, where both fit."""
    made, ratios, rates = inputs(tokens, vocab, hidden), [], []
    for _ in range(rounds + 1):
        seconds = {}
        for name, loss in LOSSES.items():
            begin = time.perf_counter()
            loss(*made).backward()
            made[1].grad = made[0].grad = None
            seconds[name] = time.perf_counter() - begin
        ratios.append(seconds["plain"] / seconds["chunked"])
        rates.append(tokens / seconds["chunked"])
    return {"plain / chunked": middle(ratios[1:]), "tokens per second, chunked": middle(rates[1:])}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target")
    parser.add_argument("--data")
    parser.add_argument("--tokens", type=int, default=6000, help="tokens of text that each run learns from")
    parser.add_argument("--layer", type=int, default=21, help="exit layer of the capacities")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--parts", nargs="+", default=["loss", "memory", "capacities", "sweep"])
    parser.add_argument("--memory-of", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.memory_of:
        which, *sizes = args.memory_of
        return memory_of(which, *map(int, sizes))
    report = {"torch": torch.__version__, "threads": args.threads, "tokens": args.tokens}
    if "loss" in args.parts:
        report["loss"] = loss_speed(4 * args.rounds)
    if "memory" in args.parts:
        report["memory 8192 x 128256 x 2048"] = memory(8192, 128256, 2048, "chunked")
        for which in LOSSES:
            report[f"memory 1024 x 128256 x 2048, {which}"] = memory(1024, 128256, 2048, which)
    if {"capacities", "sweep"} & set(args.parts):
        bench = Bench(args)
        if "capacities" in args.parts:
            report["tokens per second"] = capacities(bench, args.rounds, args.layer)
        if "sweep" in args.parts:
            report["sweeps of 8"] = {name: sweep(bench, args.rounds, drafts) for name, drafts in SWEEPS.items()}
        report["peak_mb"] = round(peak_mb())
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
