"""Which conda environment the jobs run in: that for CPUs, or the one with CUDA's libraries. The machine decides."""

import os
import shutil
from typing import Any

from selfdraft.errors import StudyError

VARIABLE = "SELFDRAFT_ENVIRONMENT"
FILES = {"cpu": "study.yaml", "cuda": "study-cuda.yaml"}  # in envs/


def environment_file(workflow: Any) -> str:
    """The environment file of all rules, of those in envs/.

    `workflow` is Snakemake's. What `$SELFDRAFT_ENVIRONMENT` says, `cpu` or `cuda`; else cuda where the profile
    gives jobs a `gpu_model`, or where this machine has a driver. The answer goes into that variable, which jobs
    inherit: a node without the driver, or with it, then takes the environment that was created for the run.
    Raises StudyError for any other word.
    """
    word = os.environ.get(VARIABLE) or ("cuda" if gives_gpus(workflow) or shutil.which("nvidia-smi") else "cpu")
    if word not in FILES:
        raise StudyError(f"{VARIABLE}={word}: no such environment; set it to cpu or cuda, or leave it unset")
    os.environ[VARIABLE] = word
    return FILES[word]


def gives_gpus(workflow: Any) -> bool:
    """Whether a profile or the command line names the model of the GPUs that jobs get, as a cluster's does."""
    settings = workflow.resource_settings
    return any(
        "gpu_model" in given for given in (settings.default_resources or {}, *settings.overwrite_resources.values())
    )
