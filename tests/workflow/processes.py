"""Snakemake as processes that can be watched and killed."""

import subprocess
import sys
from collections import Counter

import psutil


def start(study, targets):
    """Snakemake as a process group of its own, as a shell or a scheduler starts it; it writes to output.txt."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *targets]
    with open(study / "output.txt", "w") as output:
        return subprocess.Popen(
            command, cwd=study.folder, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )


def stages_of(process):
    """The stages that run at this moment below a Snakemake process: (name, process) each."""
    found = []
    try:
        for child in psutil.Process(process.pid).children(recursive=True):
            try:
                words = child.cmdline()
            except psutil.Error:
                continue
            if words[1:3] == ["-m", "selfdraft"]:
                found.append((words[3], child))
    except psutil.Error:
        pass
    return found


def at_work(process):
    """How many processes of which stage run at this moment below a Snakemake process."""
    return Counter(name for name, _ in stages_of(process))
