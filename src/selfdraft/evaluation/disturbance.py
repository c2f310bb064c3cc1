"""Whether something else ran on the machine while a run was timed, from what Linux counts and a reference.

A run is disturbed where its threads waited for a processor for more than WAITED of the time that they wanted one (all
threads together: what they waited and what they ran), or where the reference right before or after it took more than
SLOWED times the quiet one (the fastest fifth of all of the job). Where the system does not count waiting, the reference
decides alone. Other figures are kept, not judged.
"""

import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WAITED = 0.05
SLOWED = 1.3
REFERENCE_STEPS = 3  # vanilla steps of a reference, whose median it is: one alone is off by a tenth in quiet, too
COLUMNS = (
    *("cpu_s", "wait_s", "switches", "pressure_s", "reference_before_s", "reference_after_s"),
    *("disturbed", "attempts"),
)


@dataclass(frozen=True)
class Counters:
    """What this process has used so far; None where the system does not tell.

    cpu_s: seconds of all threads on a processor; wait_s: seconds in which they were ready to run and did not (Linux,
    schedstat); switches: times they were made to leave; pressure_s: seconds in which any process of the machine
    waited for a processor (Linux, pressure-stall information).
    """

    cpu_s: float
    switches: int
    wait_s: float | None = None
    pressure_s: float | None = None

    @classmethod
    def now(cls) -> "Counters":
        """As they are."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return cls(used.ru_utime + used.ru_stime, used.ru_nivcsw, _waited(), _pressure())

    def since(self, before: "Counters") -> dict[str, Any]:
        """The columns of what was used between the two."""

        def less(a: float | None, b: float | None) -> float | None:
            return None if a is None or b is None else max(0.0, a - b)

        return {
            "cpu_s": self.cpu_s - before.cpu_s,
            "wait_s": less(self.wait_s, before.wait_s),
            "switches": self.switches - before.switches,
            "pressure_s": less(self.pressure_s, before.pressure_s),
        }


def _waited() -> float | None:
    """Seconds that all threads of this process have waited for a processor."""
    total = 0
    try:
        for task in Path("/proc/self/task").iterdir():
            try:
                total += int((task / "schedstat").read_text().split()[1])
            except (FileNotFoundError, ProcessLookupError):  # a thread that has just ended
                continue
    except (OSError, IndexError, ValueError):
        return None
    return total / 1e9


def _pressure() -> float | None:
    try:
        some = Path("/proc/pressure/cpu").read_text().splitlines()[0]
        return int(some.rpartition("total=")[2]) / 1e6
    except (OSError, IndexError, ValueError):
        return None


def quiet_reference(seconds: Sequence[float]) -> float:
    """What the reference takes when nothing disturbs it: a fifth of all are as fast."""
    return sorted(seconds)[len(seconds) // 5]


def is_disturbed(row: dict[str, Any], quiet: float) -> bool:
    """Judge a run by its columns; `quiet` as `quiet_reference` tells it."""
    waited = row["wait_s"] or 0.0
    beside = max(row["reference_before_s"], row["reference_after_s"])
    return waited > WAITED * (waited + row["cpu_s"]) or beside > SLOWED * quiet
