"""How long the jobs of each rule ran, from the workflow's benchmark files."""

import csv
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NOTE = "of each job's last attempt alone; of all jobs whose benchmark files are there"


def job(path: Path) -> dict[str, float | None] | None:
    """Seconds and largest resident memory (MB) of one benchmark file; None if it holds no job.

    Memory is None for a job that ended before Snakemake looked at it.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            row = next(csv.DictReader(file, delimiter="\t"), {})
    except (OSError, UnicodeDecodeError, csv.Error):
        return None
    seconds = _number(row.get("s"))
    return None if seconds is None else {"seconds": seconds, "max_rss_mb": _number(row.get("max_rss"))}


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:  # Snakemake writes "-" or "NA" for what it did not see
        return None
    return value if math.isfinite(value) else None


def durations(folder: str | Path, patterns: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """For each rule that ran: its jobs, their seconds together and the longest one's, the largest memory in MB.

    `patterns` are those of `study.benchmark_files`, whose paths begin with `folder`. In the order of the patterns.
    """
    found: dict[str, list[dict[str, float | None]]] = {}
    for path in sorted(Path(folder).rglob("*.tsv")):
        rule = next((name for name, pattern in patterns.items() if re.fullmatch(pattern, path.as_posix())), None)
        if rule is not None and (ran := job(path)) is not None:
            found.setdefault(rule, []).append(ran)
    return {rule: _together(found[rule]) for rule in patterns if rule in found}


def _together(jobs: list[dict[str, float | None]]) -> dict[str, Any]:
    seconds = [ran["seconds"] or 0.0 for ran in jobs]
    memory = [ran["max_rss_mb"] for ran in jobs if ran["max_rss_mb"] is not None]
    return {
        "jobs": len(jobs),
        "seconds": round(sum(seconds), 1),
        "longest_s": round(max(seconds), 1),
        "max_rss_mb": max(memory, default=None),
    }
