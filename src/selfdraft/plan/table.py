"""A plan by rule, as text for a terminal and as JSON."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from selfdraft.plan.dag import Job
from selfdraft.study.expected import Costs, duration

WIDTH = 118  # of the notes below the tables


@dataclass(frozen=True)
class Plan:
    """The jobs of a study; by rule, the seconds of its jobs together (None without costs) and the bytes they leave."""

    jobs: list[Job]
    seconds: dict[str, float] | None
    bytes: dict[str, float]
    scratch: float
    costs: Costs | None

    @property
    def rules(self) -> Counter[str]:
        """How many jobs each rule has."""
        return Counter(job.rule for job in self.jobs)

    def seconds_of(self, jobs: Iterable[Job], gpu: bool | None = None) -> float:
        """Of jobs together, those of a rule alike; with `gpu` of those alone that ask for one, or do not."""
        rules, seconds = self.rules, self.seconds or {}
        return sum(seconds.get(job.rule, 0.0) / rules[job.rule] for job in jobs if gpu in (None, job.gpu))

    def bytes_of(self, jobs: Iterable[Job]) -> float:
        """Of jobs together."""
        rules = self.rules
        return sum(self.bytes.get(job.rule, 0.0) / rules[job.rule] for job in jobs)

    def clock(self, count: int) -> float:
        """Seconds on the clock, at least: on `count` cores of one machine, or with so many jobs at once."""
        if self.costs is not None and self.costs.cores:
            rules, seconds = self.rules, self.seconds or {}
            return sum(seconds[job.rule] / rules[job.rule] * min(job.threads, count) / count for job in self.jobs)
        rules, seconds = self.rules, self.seconds or {}
        longest = max((seconds[rule] / jobs for rule, jobs in rules.items()), default=0.0)
        return max(self.seconds_of(self.jobs) / count, longest)


def amount_of_bytes(count: float) -> str:
    """Two or three digits in the unit that suits: 56 MB, 1.6 GB, 317 GB."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= 0.95 * scale:
            return f"{count / scale:.1f} {unit}" if count < 9.5 * scale else f"{count / scale:,.0f} {unit}"
    return ""


def lines(rows: Iterable[Sequence[str]]) -> list[str]:
    """Columns as wide as they must be, the first to the left; columns without a value below their head go."""
    table = [list(row) for row in rows]
    kept = [n for n in range(len(table[0])) if n == 0 or any(row[n] for row in table[1:])]
    widths = {n: max(len(row[n]) for row in table) for n in kept}
    made = ["  ".join(row[n].ljust(widths[n]) if n == 0 else row[n].rjust(widths[n]) for n in kept) for row in table]
    return [line.rstrip() for line in made]


def text(plan: Plan, slots: Sequence[int], title: str) -> str:
    """The whole plan: rules, the longest first, time on the clock, and what it rests on."""

    def row(name: str, jobs: list[Job], said: str) -> list[str]:
        timed = plan.seconds is not None
        gpu = duration(plan.seconds_of(jobs, True)) if timed and any(job.gpu for job in jobs) else ""
        cpu = duration(plan.seconds_of(jobs, False)) if timed and not all(job.gpu for job in jobs) else ""
        return [name, f"{len(jobs):,}", gpu, cpu, amount_of_bytes(plan.bytes_of(jobs)), said]

    def measured(rule: str) -> str:
        if plan.costs is None:
            return ""
        jobs = plan.costs.rules.get(rule, {}).get("jobs", 0)
        return f"{jobs} job{'s' if jobs > 1 else ''}" if jobs else "start alone"

    head = ["jobs", "models run", "other", "disk"]
    by_rule: dict[str, list[Job]] = {}
    for job in plan.jobs:
        by_rule.setdefault("figure_…" if job.rule.startswith("figure_") else job.rule, []).append(job)
    longest = sorted(
        by_rule.items(), key=lambda found: (-plan.seconds_of(found[1]), -plan.bytes_of(found[1]), found[0])
    )
    rules = [row(name, jobs, measured(jobs[0].rule)) for name, jobs in longest]
    parts = [title, "", *lines([["rule", *head, "time from"], *rules, row("total", plan.jobs, "")])]
    parts += ["", *(line for note in notes(plan, slots) for line in wrap(note, WIDTH, subsequent_indent="  "))]
    return "\n".join(parts)


def notes(plan: Plan, slots: Sequence[int]) -> list[str]:
    """What the numbers rest on, a sentence a line."""
    said = []
    if plan.costs is None:
        said.append(
            "No times: nothing was measured on the machine of this profile. Run a small study there, then "
            "--measured RESULTS; --machine epyc-2-cores tells the times of two CPU cores."
        )
    else:
        for count in slots:
            said.append(
                f"On the clock with {count} at once (cores, or jobs of a GPU each): {duration(plan.clock(count))}."
            )
        said.append(f"Times: {plan.costs.name}. {plan.costs.origin}")
        said.append(
            "A rule's seconds of that run, scaled by tokens times parameters; how many drafts are accepted is taken "
            "to be as there."
        )
    said.append("Not in it: downloads, waiting in a queue, jobs that are repeated; on disk, tables and figures.")
    if plan.scratch:
        said.append(f"While a draft trains, its state takes up to {amount_of_bytes(plan.scratch)} in results/state.")
    return said


def as_json(plan: Plan, slots: Sequence[int]) -> dict[str, Any]:
    """The same for programs: seconds (null without costs) and bytes."""

    def amounts(jobs: list[Job]) -> dict[str, Any]:
        timed = plan.seconds is not None
        return {
            "jobs": len(jobs),
            "seconds": plan.seconds_of(jobs) if timed else None,
            "gpu_seconds": plan.seconds_of(jobs, True) if timed else None,
            "disk_bytes": plan.bytes_of(jobs),
        }

    return {
        "costs": plan.costs and {"name": plan.costs.name, "origin": plan.costs.origin},
        "rules": {rule: amounts([job for job in plan.jobs if job.rule == rule]) for rule in plan.rules},
        "total": amounts(plan.jobs),
        "clock_seconds": {str(count): plan.clock(count) for count in slots} if plan.costs else None,
        "notes": notes(plan, slots),
    }
