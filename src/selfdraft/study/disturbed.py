"""What the terminal says at the end of a study of runs that other work on the machine disturbed."""

import csv
from collections import Counter
from pathlib import Path


def disturbed_runs(path: str | Path = "results/speed.csv") -> list[str]:
    """Lines for the terminal: the disturbed runs under each policy; none without such runs or without a table."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = [(row["policy"], row["disturbed"] == "1") for row in csv.DictReader(file)]
    except (OSError, KeyError):
        return []
    runs, bad = Counter(policy for policy, _ in rows), Counter(policy for policy, is_bad in rows if is_bad)
    lines = [
        f"Disturbed by other work on the machine: {bad[policy]} of {runs[policy]} timed runs under {policy}."
        for policy in bad
    ]
    if lines:
        lines.append(f"See `disturbed` in results.csv; remove {Path(path).parent}/raw/speed to time them again.")
    return lines
