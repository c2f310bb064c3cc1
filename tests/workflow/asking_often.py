"""Snakemake that asks SLURM every two seconds how its jobs do; by itself it asks ever more rarely until one ends.

Its jobs are run by the Python that JOBS_PYTHON names, if it is set.
"""

import os
import sys
from importlib.util import find_spec

from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor

if __name__ == "__main__":
    Executor.next_seconds_between_status_checks = property(lambda self: 2, lambda self, seconds: None)
    sys.executable = os.environ.get("JOBS_PYTHON", sys.executable)
    sys.argv[0] = find_spec("snakemake.__main__").origin
    main()
