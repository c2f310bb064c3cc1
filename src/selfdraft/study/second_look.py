"""After a run: Snakemake again, where its plan left out jobs behind `ancient` inputs.

When a job runs for a reason of its own (new code, or an output that a kill left incomplete), Snakemake does not
look at what depends on it through `ancient` inputs alone, not even for missing outputs
(snakemake/snakemake issue 4166): it ends with success, and the next run does the rest. This is that run.
"""

import atexit
import os
import sys
from pathlib import Path
from typing import Any

VARIABLE = "SELFDRAFT_SECOND_LOOK"  # set in the run that is the second look


def left_out(dag: Any) -> bool:
    """Whether a job ran and one that depends on it did not."""
    ran = set(dag.finished_jobs)
    return any(not dag.finished(job) for job in dag.bfs(dag.depending, *ran))


def look_again(workflow: Any) -> None:
    """Replace this process, when it ends, by the same Snakemake command, if its plan left jobs out.

    Once at most, and not where jobs were forced or touched, nor in a program that uses Snakemake's API.
    """
    settings = workflow.dag_settings
    asked = workflow.touch or settings.forceall or settings.forcerun or settings.forcetargets
    own = "snakemake" in Path(sys.argv[0]).parts[-2:]
    if asked or not own or VARIABLE in os.environ or not left_out(workflow.dag):
        return

    def again() -> None:
        print("Looking for jobs that depend on what ran …", file=sys.stderr, flush=True)
        os.environ[VARIABLE] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])

    atexit.register(again)
