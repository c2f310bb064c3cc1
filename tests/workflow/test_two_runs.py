"""One run at a time in a folder: the second stops with one line, and the first never notices."""

import os
import re
import signal
import time

import psutil
import pytest
from workflow.processes import at_work, stages_of, start

DATA = "results/data/tiny_chats/index.json"


@pytest.fixture
def tiny(fresh_tiny):
    return fresh_tiny


def wait_for_a_stage(process, study):
    end = time.monotonic() + 120
    while not at_work(process):
        assert time.monotonic() < end
        assert process.poll() is None, (study / "output.txt").read_text()
        time.sleep(0.02)


def error_of(done):
    """The lines of Snakemake's error message, without the place in the Snakefile that it adds."""
    lines = done.output.split("WorkflowError in file")[1].splitlines()[1:]
    return [line for line in lines if line and not line.startswith(("  File", "Using workflow", "Assuming"))]


def test_the_second_run_names_the_first_and_leaves_it_alone(tiny):
    first = start(tiny, [DATA])
    wait_for_a_stage(first, tiny)
    assert tiny.to_do(DATA)  # looking is allowed
    second = tiny.snakemake("--cores", "1", "all_results")
    assert second.returncode == 1
    (line,) = error_of(second)
    assert re.fullmatch(
        rf"{re.escape(str(tiny.folder))}: another run is at work here \(process {first.pid} on \S+ since "
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\); wait for it or end it, then start again",
        line,
    )
    assert "Traceback" not in second.output
    assert first.wait(timeout=300) == 0, (tiny / "output.txt").read_text()
    assert (tiny / DATA).is_file()
    assert tiny.snakemake("--cores", "1", DATA).returncode == 0


def test_jobs_that_outlive_their_snakemake_keep_the_folder_until_they_end(tiny):
    first = start(tiny, [DATA])
    wait_for_a_stage(first, tiny)
    ((_, job),) = stages_of(first)
    time.sleep(0.5)
    job.suspend()  # it takes its time
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    second = tiny.snakemake("--cores", "1", DATA)
    assert second.returncode == 1
    (line,) = error_of(second)
    assert f"jobs of an earlier run (process {first.pid} on" in line
    assert f"still work here: process {job.pid}; wait for them or end them" in line
    job.resume()
    while job.is_running() and job.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.1)
    third = tiny.snakemake("--cores", "1", DATA)
    assert third.returncode == 0, third.output
