"""Which of a config's jobs a target needs, when nothing is there yet."""

from collections import Counter
from collections.abc import Iterable

from selfdraft.errors import StudyError
from selfdraft.plan.dimensions import Dimensions
from selfdraft.plan.jobs import Job, Planner, table_job
from selfdraft.study import sweeps
from selfdraft.study.sweeps import Config

TARGETS = ("all_figures", "all_benchmarks", "all_results", "all_data")


def jobs_for(
    config: Config,
    models: dict[str, Dimensions],
    targets: Iterable[str] = ("all_figures",),
    scenario: str = "expected",
    figures: Iterable[str] | None = None,
) -> list[Job]:
    """The jobs that the targets (see TARGETS) need when nothing is there yet; with `figures` those alone are drawn."""
    jobs = Planner(config, models, scenario).all()
    wanted: list[str] = []
    for target in targets:
        wanted += _names(target, config, jobs, figures)
    needed: set[str] = set()
    waiting = [name for name in wanted if name in jobs]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += jobs[name].needs
    return [job for name, job in jobs.items() if name in needed]


def _names(target: str, config: Config, jobs: dict[str, Job], figures: Iterable[str] | None) -> list[str]:
    drawn = [name for name in sweeps.figures(config) if figures is None or name in set(figures)]
    whole = figures is None
    if target == "all_figures":
        names = [f"figure {name}" for name in drawn if name not in sweeps.TABLE_FIGURES]
        return [*names, "provenance"] if whole else names
    if target == "all_benchmarks":
        names = [f"figure {name}" for name in drawn if name in sweeps.TABLE_FIGURES]
        tables = sweeps.side_tables(config)
        return [*names, *map(table_job, tables), "provenance_of_benchmarks"] if whole and tables else names
    if target == "all_results":
        return ["results", "provenance"]
    if target == "all_data":
        return [name for name in jobs if name.startswith("data ")]
    raise StudyError(f"{target}: unknown target; known are {', '.join(TARGETS)}")


def by_rule(jobs: Iterable[Job]) -> Counter[str]:
    """How many jobs each rule has, as Snakemake's dry run counts them (but for its own target rule)."""
    return Counter(job.rule for job in jobs)
