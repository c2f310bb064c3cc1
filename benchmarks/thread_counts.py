"""Whether predictions of speed hold with other numbers of threads: predicted against measured, by number of threads.

    python benchmarks/thread_counts.py --sweeps gamma drafters --threads 1 2        # in a study that has ended

Acceptance does not depend on threads and is the study's own; steps and speed are measured anew with each number. A
Markdown table: points, median of |measured / predicted - 1|, and the point that is furthest off.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import pandas as pd

from selfdraft.study import entries, options, sweeps
from selfdraft.study.config import load


def stage(name: str, *options: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "selfdraft", name, *map(str, options)], check=True, stdout=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="config.yaml")
    parser.add_argument("--sweeps", nargs="+", required=True, help="whose points under --policy are measured")
    parser.add_argument("--policy", default="greedy")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("results/thread_counts"))
    args = parser.parse_args()
    config = load(args.config)
    points = list(dict.fromkeys(p for name in args.sweeps for p in sweeps.points_of(config["sweeps"][name])))
    points = [point for point in points if point.policy == args.policy]
    folders = [f"results/checkpoints/{draft.name}" for draft in sweeps.trained(points)]
    shared = [
        "--target",
        f"results/target/{config['target']['name']}",
        "--data",
        f"results/data/{config['data']['name']}",
    ]
    shared += ["--checkpoints", *folders, "--drafters", entries.drafter_settings(config)]
    shared += ["--drafting", options.as_json(config["drafting"]), "--dtype", config["target"]["dtype"]]
    shared += ["--points", options.as_json([sweeps.list_of(point) for point in points])]
    shared += ["--policy", args.policy, "--policy-settings", options.policy_settings(config)[args.policy]]
    speed = options.as_json(config["speed"] | {"prompts": args.prompts})
    print("| threads | points | median of measured / predicted | median of its distance from 1 | furthest off |")
    print("|---|---|---|---|---|")
    for threads in args.threads:
        folder = args.out / str(threads)
        folder.mkdir(parents=True, exist_ok=True)
        own = [*shared, "--threads", str(threads)]
        stage("steps", *own, "--settings", options.settings_of(config, "steps"), "--out", folder / "steps.csv")
        stage("speed", *own, "--settings", speed, "--no-transformers", "--out", folder / "speed.csv")
        tables = ["--acceptance", "results/acceptance.csv"]
        tables += [f"--{name}={folder / f'{name}.csv'}" for name in ("steps", "speed")]
        stage(
            "results", *tables, "--settings", options.settings_of(config, "statistics"), "--out", folder / "results.csv"
        )
        table = pd.read_csv(folder / "results.csv")
        table = table[table["dataset"] == config["data"]["name"]]
        told = table[table["speedup"].notna() & table["predicted_speedup"].notna()]
        ratio = told["speedup"] / told["predicted_speedup"]
        far = told.loc[(ratio - 1).abs().idxmax()]
        named = " ".join(str(far[key]) for key in ("drafter", "layer", "capacity") if str(far[key]) != "nan")
        print(
            f"| {threads} | {len(told)} | {ratio.median():.3f} | {(ratio - 1).abs().median():.3f} | "
            f"{named}, gamma {far['gamma']}: {(far['speedup'] / far['predicted_speedup']):.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
