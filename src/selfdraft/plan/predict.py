"""Seconds and bytes of a plan: by stage, by figure, in all, and on the clock."""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from selfdraft.plan.costs import CASES, Costs
from selfdraft.plan.dimensions import Dimensions
from selfdraft.plan.jobs import WHOLE, Job
from selfdraft.plan.targets import jobs_for
from selfdraft.study import sweeps
from selfdraft.study.sweeps import Config

# What a prediction assumes of acceptance: at best every draft is accepted, at worst none.
SCENARIO = dict(zip(CASES, ("all", "expected", "none"), strict=True))


@dataclass(frozen=True)
class Amount:
    """Low, typical and high seconds of jobs that ask for a GPU and of those that do not, and bytes."""

    jobs: int
    gpu: tuple[float, ...]
    cpu: tuple[float, ...]
    disk: tuple[float, ...]
    longest: tuple[float, ...]

    def __sub__(self, other: "Amount") -> "Amount":
        def less(a: tuple[float, ...], b: tuple[float, ...]) -> tuple[float, ...]:
            return tuple(max(0.0, x - y) for x, y in zip(a, b, strict=True))

        kept = less(self.gpu, other.gpu), less(self.cpu, other.cpu), less(self.disk, other.disk)
        return Amount(self.jobs - other.jobs, *kept, self.longest)


@dataclass(frozen=True)
class Plan:
    """The jobs under each of the three cases, same names in the same order, and their costs."""

    cases: dict[str, list[Job]]
    costs: Costs

    def amount(self, rules: Iterable[str] | None = None) -> Amount:
        """All jobs, or those of some rules."""
        chosen = None if rules is None else set(rules)
        gpu, cpu, disk, longest, count = [], [], [], [], 0
        for case, jobs in self.cases.items():
            mine = [job for job in jobs if chosen is None or job.rule in chosen]
            times = [self.costs.seconds(job, case) for job in mine]
            gpu.append(sum(time for time, job in zip(times, mine, strict=True) if job.on_gpu))
            cpu.append(sum(time for time, job in zip(times, mine, strict=True) if not job.on_gpu))
            disk.append(sum(job.disk for job in mine))
            longest.append(max(times, default=0.0))
            count = len(mine)
        return Amount(count, tuple(gpu), tuple(cpu), tuple(disk), tuple(longest))

    @property
    def rules(self) -> list[str]:
        """In the order of the workflow."""
        return list(dict.fromkeys(job.rule for job in self.cases["typical"]))

    def scratch(self, slots: int) -> float:
        """Bytes of training states when as many drafts as have room train at the same time."""
        return sum(sorted((job.scratch for job in self.cases["typical"]), reverse=True)[:slots])

    def wall(self, slots: int) -> tuple[float, ...]:
        """Seconds on the clock with as many jobs at once, low, typical and high."""
        return tuple(wall_seconds(jobs, self.costs, case, slots) for case, jobs in self.cases.items())


def plan(
    config: Config,
    models: dict[str, Dimensions],
    costs: Costs,
    targets: Sequence[str] = ("all_figures",),
    figures: Iterable[str] | None = None,
) -> Plan:
    """What the targets cost when nothing is there yet; with `figures` those alone."""
    drawn = None if figures is None else list(figures)
    return Plan({case: jobs_for(config, models, targets, SCENARIO[case], drawn) for case in CASES}, costs)


def only(config: Config, figures: Sequence[str]) -> Config:
    """The config of a study that draws these figures and measures nothing else."""
    drawn = sweeps.figures(config)
    wanted: list[str] = []
    for figure in figures:
        section = sweeps.TABLE_FIGURES.get(figure)
        if section is None and figure != "domains":
            wanted.append((config["figures"].get(figure) or {}).get("sweep", sweeps.FIGURES[figure]))
        else:
            wanted += config.get(section or figure, {}).get("sweeps", [])
    beside = {*sweeps.TABLE_FIGURES.values(), "identity", "domains"} - set(figures)
    kept = {section: value for section, value in config.items() if section not in beside}
    return kept | {
        "sweeps": {name: sweep for name, sweep in config["sweeps"].items() if name in wanted},
        "figures": {figure: config["figures"].get(figure) or {} for figure in figures if figure in drawn},
    }


def by_figure(
    config: Config, models: dict[str, Dimensions], costs: Costs, targets: Sequence[str]
) -> dict[str, tuple[Amount, Amount]]:
    """Of each figure that the targets draw: what it needs alone, and what it adds to those before it."""
    tables = {"all_figures": False, "all_benchmarks": True}
    kinds = {tables[target] for target in targets if target in tables}
    names = [name for name in sweeps.figures(config) if (name in sweeps.TABLE_FIGURES) in kinds]
    found, before = {}, plan(config, models, costs, targets, []).amount()
    for number, name in enumerate(names, start=1):
        alone = plan(only(config, [name]), models, costs, targets, [name]).amount()
        together = plan(only(config, names[:number]), models, costs, targets, names[:number]).amount()
        found[name] = alone, together - before
        before = together
    return found


def wall_seconds(jobs: Sequence[Job], costs: Costs, case: str, slots: int) -> float:
    """Jobs start as soon as what they need is there and a slot is free, in the order of the plan.

    On one machine (`shared`) a slot is a core, and a job that claims the whole machine runs alone; on a
    cluster every job has one slot.
    """
    places = {job.name: place for place, job in enumerate(jobs)}
    waiting = {job.name: {need for need in job.needs if need in places} for job in jobs}
    followers: dict[str, list[str]] = {job.name: [] for job in jobs}
    for name, needs in waiting.items():
        for need in needs:
            followers[need].append(name)
    ready = sorted(places[name] for name, needs in waiting.items() if not needs)
    running: list[tuple[float, int, int]] = []  # (end, place, slots taken)
    now, free = 0.0, slots
    while ready or running:
        for place in list(ready):
            threads = jobs[place].threads
            taken = 1 if not costs.shared else slots if threads == WHOLE else min(threads, slots)
            if taken <= free:
                ready.remove(place)
                free -= taken
                heapq.heappush(running, (now + costs.seconds(jobs[place], case), place, taken))
        now, place, taken = heapq.heappop(running)
        free += taken
        for name in followers[jobs[place].name]:
            waiting[name].discard(jobs[place].name)
            if not waiting[name]:
                ready.append(places[name])
        ready.sort()
    return now
