"""A scheduler that sleeps while jobs run, so that Snakemake itself is no work beside what is timed.

Snakemake may start a hundred jobs a second by default. To keep that, it plans anew a second after each plan while jobs
wait for their cores, and each job that ends begins a chain of such plans of its own: after seventy jobs it plans
seventy times a second for the rest of the run, on a tenth of a core (snakemake/snakemake issue 2967 and pull request
3744). Without the limit it plans when a job ends.
"""

from typing import Any

DEFAULT = (100, 1)  # jobs, seconds


def sleep_between_jobs(workflow: Any) -> None:
    """Take the limit of jobs a second away, unless the command line or a profile asks for another one.

    Called on the start of a run, when the scheduler is made and has not planned yet.
    """
    limit = workflow.scheduling_settings.max_jobs_per_timespan
    if limit is not None and (limit.max_jobs, limit.timespan) == DEFAULT:
        workflow.scheduler.job_rate_limiter = None
