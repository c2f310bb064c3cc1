"""What the terminal says at the end of a study of timed runs that other work on the machine disturbed."""

import csv
from collections import Counter
from pathlib import Path


def disturbed_runs(path: str | Path = "results/speed.csv") -> list[str]:
    """How many timed runs were disturbed and of how many; where any, by policy and what to do. None without a table."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = [(row["policy"], row["disturbed"] == "1") for row in csv.DictReader(file)]
    except (OSError, KeyError):
        return []
    runs, bad = Counter(policy for policy, _ in rows), Counter(policy for policy, is_bad in rows if is_bad)
    lines = [f"Timed runs that something disturbed: {bad.total()} of {runs.total()}."]
    if bad:
        lines += [f"  under {policy}: {bad[policy]} of {runs[policy]}" for policy in runs if len(runs) > 1]
        lines.append(f"  See `disturbed` in results.csv; remove {Path(path).parent}/raw/speed to time them again.")
    return lines
