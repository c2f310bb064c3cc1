"""One run at a time in a folder: the second stops with one line, and the first never notices."""

import os
import re
import signal
import time

import pytest
from workflow.processes import start

# A job of the real Snakefile that does nothing until it may end; like a stage it shares the lock of its run.
WAITING = """
rule waiting:
    output:
        "waited.txt",
    shell:
        "python -c 'import os, pathlib, time; from selfdraft.study.lock import join; join();"
        " pathlib.Path(\\"pid\\").write_text(str(os.getpid()))"
        "; [time.sleep(0.02) for _ in iter(pathlib.Path(\\"go\\").exists, True)]' && touch {output}"
"""
TARGET = "waited.txt"


@pytest.fixture
def study(study_at, tmp_path):
    """A copy of the project with the rule of a job that waits."""
    study = study_at(tmp_path / "study")
    study.add(WAITING)
    return study


def wait_for_the_job(process, study):
    """The waiting job's process id."""
    end = time.monotonic() + 120
    while not ((study / "pid").exists() and (study / "pid").read_text()):
        assert time.monotonic() < end
        assert process.poll() is None, (study / "output.txt").read_text()
        time.sleep(0.02)
    return int((study / "pid").read_text())


def error_of(done):
    """The lines of Snakemake's error message, without the place in the Snakefile that it adds."""
    lines = done.output.split("WorkflowError in file")[1].splitlines()[1:]
    return [line for line in lines if line and not line.startswith(("  File", "Using workflow", "Assuming"))]


def test_the_second_run_names_the_first_and_leaves_it_alone(study):
    first = start(study, [TARGET])
    wait_for_the_job(first, study)
    assert study.to_do(TARGET)  # looking is allowed
    second = study.snakemake("--cores", "1", "all_results")
    assert second.returncode == 1
    (line,) = error_of(second)
    assert re.fullmatch(
        rf"{re.escape(str(study.folder))}: another run is at work here \(process {first.pid} on \S+ since "
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\); wait for it or end it, then start again",
        line,
    )
    assert "Traceback" not in second.output
    (study / "go").touch()
    assert first.wait(timeout=300) == 0, (study / "output.txt").read_text()
    assert (study / TARGET).is_file()
    assert study.snakemake("--cores", "1", TARGET).returncode == 0


def test_jobs_that_outlive_their_snakemake_keep_the_folder_until_they_end(study):
    first = start(study, [TARGET])
    job = wait_for_the_job(first, study)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    second = study.snakemake("--cores", "1", TARGET)
    assert second.returncode == 1
    (line,) = error_of(second)
    assert f"jobs of an earlier run (process {first.pid} on" in line
    assert f"still work here: process {job}; wait for them or end them" in line
    (study / "go").touch()
    end = time.monotonic() + 60
    while not (study / TARGET).exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    third = study.snakemake("--cores", "1", TARGET)
    assert third.returncode == 0, third.output
