"""What a run is going to do and how long that should take, and at its end where the results are and what they say."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from selfdraft.study.disturbed import disturbed_runs
from selfdraft.study.expected import duration, read_costs, usual
from selfdraft.study.findings import findings
from selfdraft.study.model_sizes import model_parameters
from selfdraft.study.sweeps import Config

RESULTS = "results/results.csv"

# The groups of rules that a line names; all others are named by themselves.
TOGETHER = {"figure_": "figures", "domain_": "on other text", "gather_": "tables", "acceptance": "acceptance"}


def announce(workflow: Any, config: Config, logger: Any) -> None:
    """Log the jobs of a run that is about to start, and how long they should take.

    For a handler that shows progress the record has `jobs`, `expected`, the seconds on the clock for
    which a job of each rule counts, and `seconds`, those of the whole run.
    """
    jobs = [job for job in workflow.dag.needrun_jobs() if not asks(job)]
    if not jobs:
        return
    order = {rule.name: place for place, rule in enumerate(workflow.rules)}
    todo = Counter(sorted((job.rule.name for job in jobs), key=order.__getitem__))
    whole = Counter(job.rule.name for job in workflow.dag.jobs if not asks(job))
    costs = read_costs(usual())
    seconds = costs.seconds(whole, config, model_parameters(config))
    cores = workflow.cores if workflow.local_exec else 1
    threads = {job.rule.name: min(job.threads, cores) for job in jobs}
    expected = {rule: seconds[rule] / whole[rule] * threads[rule] / cores for rule in todo}
    total = sum(expected[rule] * count for rule, count in todo.items())
    kinds = ", ".join(f"{count} {name}" if count > 1 else name for name, count in grouped(todo).items())
    said = [f"{len(jobs):,} job{'s' if len(jobs) > 1 else ''}: {kinds}."]
    if workflow.local_exec:
        said.append(
            f"About {duration(total)} on {cores} core{'s' if cores > 1 else ''} like those that were measured "
            f"({costs.name}), and what has to be downloaded."
        )
    extra = {"selfdraft": "plan", "jobs": len(jobs), "expected": expected, "seconds": total}
    logger.info("\n".join(said), extra=extra)


def conclude(workflow: Any, logger: Any) -> None:
    """Log where the results of a run that succeeded are, how many timings were disturbed, and three findings."""
    finished = list(workflow.dag.finished_jobs)
    made = [str(output) for job in finished for output in job.output]
    lines = []
    if figures := sum(path.endswith(".pdf") for path in made):
        lines.append(f"Figures: paper_figures/ ({figures} new), each as .pdf and .png.")
    if tables := [path for path in made if path.endswith(".csv") and "/raw/" not in path]:
        lines.append(f"Tables: {', '.join(tables)}; how they were made: results/provenance.json.")
    if RESULTS in tables:
        lines += [*disturbed_runs(), *(f"- {finding}" for finding in findings(RESULTS))]
    if lines:
        logger.info("\n".join(lines), extra={"selfdraft": "end"})


def asks(job: Any) -> bool:
    """Whether a job makes nothing, but asks for what others make."""
    return not job.output


def grouped(jobs: Mapping[str, int]) -> dict[str, int]:
    """Jobs by rule, those of like rules together, in the order given."""
    found: dict[str, int] = {}
    for rule, count in jobs.items():
        name = next((group for start, group in TOGETHER.items() if rule.startswith(start)), rule)
        found[name] = found.get(name, 0) + count
    return found
