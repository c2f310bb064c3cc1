"""Before `--use-conda`: is there a conda that Snakemake can use? One line with the remedy otherwise."""

import re
import shutil
import subprocess
from typing import Any

from selfdraft.errors import StudyError

MINIMUM = "24.7.1"  # Snakemake 9's own: snakemake.deployment.conda.MIN_CONDA_VER
REMEDY = (
    f"install conda {MINIMUM} or newer (Miniforge has it) and put it on the PATH;"
    " or leave --use-conda out, in an environment that has the package (`make figures` creates one)"
)


def check_conda(workflow: Any) -> None:
    """Raise StudyError where Snakemake was told to use conda and cannot.

    `workflow` is Snakemake's. Only the process that a person starts asks: jobs on other nodes are given the
    environment's path and need no conda.
    """
    methods = {str(method) for method in workflow.deployment_settings.deployment_method}
    if "conda" in methods and workflow.is_main_process:
        check_version(installed_version())


def installed_version() -> str:
    """What the `conda` on the PATH calls its version; mamba and micromamba are none. StudyError if it does not run."""
    if shutil.which("conda") is None:
        raise StudyError(f"--use-conda: no command `conda` on the PATH; {REMEDY}")
    try:
        done = subprocess.run(["conda", "--version"], capture_output=True, text=True, check=False)
    except OSError as error:  # its own Python is gone, say
        raise StudyError(f"--use-conda: `conda --version` does not start: {error}; repair it or {REMEDY}") from error
    found = re.search(r"\d+(\.\d+)+", done.stdout)
    if done.returncode != 0 or found is None:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        raise StudyError(f"--use-conda: `conda --version` says: {said[-1]}; repair it or {REMEDY}")
    return found[0]


def check_version(version: str) -> None:
    """Raise StudyError if `version` (numbers with dots) is below MINIMUM."""
    if _numbers(version) < _numbers(MINIMUM):
        raise StudyError(
            f"--use-conda: conda {version} is too old; `conda update --name base conda` brings a newer one, or {REMEDY}"
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))
