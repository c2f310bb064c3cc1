"""Which cores are free for this process, and how its threads wait for each other. Nothing here loads torch."""

import os
import re
import time
from collections.abc import Mapping, MutableMapping
from pathlib import Path

# Turns of libgomp's waiting loop before a thread sleeps, measured in docs/benchmarks.md: a quiet step takes no longer
# than with more, and a thread that has lost its core to another process is not waited for at the other core's cost.
SPIN = "1000"
HELP = "CPU threads at most (default: no limit); never more than one a core that nothing else uses"


def wait_gently(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let OpenMP's threads sleep soon when they wait; before torch is loaded. What the user has set stands."""
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(environment):
        environment["GOMP_SPINCOUNT"] = SPIN


def usable_cores(root: Path = Path("/")) -> int:
    """Cores that this process may use: its affinity, and the quotas of its control groups, rounded down; 1 at least."""
    cores = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    return max(1, int(min([cores, *_quotas(root)])))


def _quotas(root: Path) -> list[float]:
    """Cores that each control group around this process may use on average (versions 2 and 1)."""
    found = []
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    base = root / "sys/fs/cgroup"
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if controllers == "" or "cpu" in controllers.split(","):
            top = base if controllers == "" else base / "cpu"
            inside = Path(path.lstrip("/"))
            for folder in (top / inside, *(top / parent for parent in inside.parents)):
                found += _quota(folder)
    return found


def _quota(folder: Path) -> list[float]:
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        return [int(quota) / int(period)] if re.fullmatch(r"\d+", quota) else []
    except (OSError, ValueError):
        return []


def busy_cores(seconds: float = 0.5, stat: Path = Path("/proc/stat")) -> float:
    """How many of the cores that this process may use others keep busy; 0 where the system does not tell."""
    before = _ticks(stat)
    time.sleep(seconds)
    after = _ticks(stat)
    if not before or not after:
        return 0.0
    mine = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(after)
    return sum(_busy(before[core], after[core]) for core in mine if core in before and core in after)


def _ticks(stat: Path) -> Mapping[int, list[int]]:
    try:
        lines = stat.read_text().splitlines()
    except OSError:
        return {}
    found = (re.fullmatch(r"cpu(\d+) (.*)", line) for line in lines)
    return {int(match[1]): list(map(int, match[2].split())) for match in found if match}


def _busy(before: list[int], after: list[int]) -> float:
    """Share of the time between two readings that a core was not idle (fields: user nice system idle iowait …)."""
    spent = [b - a for a, b in zip(before, after, strict=True)][:8]  # guests are in user already
    total = sum(spent)
    return 1.0 - (spent[3] + spent[4]) / total if total > 0 else 0.0


def free_threads(most: int | None = None, usable: int | None = None, busy: float | None = None) -> tuple[int, str]:
    """One thread for each core that nobody else uses, `most` at the most, one at least; and why, in words."""
    usable = usable_cores() if usable is None else usable
    busy = busy_cores() if busy is None else busy
    free = max(1, usable - round(busy))
    threads = free if most is None else min(most, free)
    why = f"{threads} {'thread' if threads == 1 else 'threads'}: {usable} usable cores, {busy:.1f} of them busy"
    return threads, why if most is None or most >= free else f"{why}, {most} asked for"
