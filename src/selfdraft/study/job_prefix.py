"""What the shell of every workflow job starts with: where it finds Python and the package, and some values."""

import os
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

from selfdraft.provenance import commit


def prepare_jobs(**lists: list[int]) -> str:
    """The prefix of all shell commands; puts the running Python first on the PATH that jobs inherit.

    That is the Python of Snakemake, if it has what the stages need; otherwise the PATH is left alone.
    A job's conda environment goes before it. The package is found where this file lies, in any
    environment. `$commit` and the `lists`, each a shell variable, are what a stage is told but must
    not run again for: as a param, a new layer would convert the model again, and a new commit would
    repeat the bootstrap.
    """
    if find_spec("torch"):
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    source = Path(__file__).resolve().parents[2]
    values = {"commit": commit()} | {name: " ".join(map(str, numbers)) for name, numbers in lists.items()}
    return f"set -euo pipefail; export PYTHONPATH={shlex.quote(str(source))}; " + "".join(
        f"{name}={shlex.quote(value)}; " for name, value in values.items()
    )
