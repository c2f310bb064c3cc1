"""What a busy neighbour does to a decoding step, by how OpenMP's threads wait for each other.

    python benchmarks/neighbours.py --target results/target/SmolLM2-135M-Instruct

One process for each setting is started and asked in turn for a few vanilla steps of decoding, with and without a
process that keeps one core busy. Prints a Markdown table of medians; the neighbour is always ended.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

SETTINGS: dict[str, dict[str, str]] = {
    "libgomp's own": {"OMP_WAIT_POLICY": "", "GOMP_SPINCOUNT": ""},
    "passive": {"OMP_WAIT_POLICY": "passive"},
    "GOMP_SPINCOUNT=1000": {"GOMP_SPINCOUNT": "1000"},
    "GOMP_SPINCOUNT=10000": {"GOMP_SPINCOUNT": "10000"},
    "GOMP_SPINCOUNT=100000": {"GOMP_SPINCOUNT": "100000"},
    "one thread": {"THREADS": "1"},
}
PROMPT = [(37 * i) % 4000 + 100 for i in range(160)]


def serve(target: str, threads: int) -> None:
    """Answer each line of standard input with the seconds of one step, a median of 12."""
    import torch

    from selfdraft.decoding.loop import vanilla
    from selfdraft.decoding.policy import Policy
    from selfdraft.decoding.prefill import Prefill
    from selfdraft.models.runtime import start

    model = start(target, "auto", "cpu", threads).pack()
    start_ = Prefill(model, [PROMPT], 16, (0,))
    print("ready", flush=True)
    for _ in sys.stdin:
        found = []
        for _ in range(12):
            begin = time.perf_counter()
            vanilla(model, start_.prompts, Policy("greedy"), 1, torch.Generator(), prefill=start_)
            found.append(time.perf_counter() - begin)
        print(statistics.median(found), statistics.fmean(found), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", required=True)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.target, int(os.environ.get("THREADS", args.threads)))
        return
    children = {}
    for name, changes in SETTINGS.items():
        unset = {key for key, value in changes.items() if not value} | {"OMP_NUM_THREADS"}
        environment = {key: value for key, value in (os.environ | changes).items() if key not in unset}
        command = [sys.executable, __file__, "--target", args.target, "--threads", str(args.threads), "--serve"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        children[name] = subprocess.Popen(command, env=environment, **pipes)  # type: ignore[call-overload]
    found: dict[tuple[str, bool], list[tuple[float, float]]] = {}
    try:
        for child in children.values():
            child.stdout.readline()
        for _ in range(args.rounds):
            for busy in (False, True):
                neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
                try:
                    for name, child in children.items():
                        print("step", file=child.stdin, flush=True)
                        median, mean = map(float, child.stdout.readline().split())
                        found.setdefault((name, busy), []).append((median, mean))
                finally:
                    if neighbour is not None:
                        neighbour.kill()
                        neighbour.wait()
    finally:
        for child in children.values():
            child.stdin.close()
            child.wait()
    print(
        "| threads wait | quiet: median, mean of a step (ms) | one core busy | ratio of the means |\n|---|---|---|---|"
    )
    for name in children:
        cells = [
            [1e3 * statistics.median(one[part] for one in found[name, busy]) for part in (0, 1)]
            for busy in (False, True)
        ]
        (quiet, quiet_mean), (busy_, busy_mean) = cells
        print(
            f"| {name} | {quiet:.1f}, {quiet_mean:.1f} | {busy_:.1f}, {busy_mean:.1f} | {busy_mean / quiet_mean:.1f} |"
        )


if __name__ == "__main__":
    main()
