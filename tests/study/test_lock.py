"""A folder belongs to one run and its jobs, until the last of them has died."""

import errno
import fcntl
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from selfdraft.errors import StudyError
from selfdraft.study.lock import VARIABLE, claim, join

SOURCE = Path(__file__).resolve().parents[2] / "src"
RUN = "from selfdraft.study.lock import *; claim('locks'); import os; print(os.environ[VARIABLE], flush=True); input()"
JOB = "from selfdraft.study.lock import *; join(); print('joined', flush=True); input()"


@pytest.fixture
def begin(tmp_path):
    """Start a process in the study's folder, and wait for the first line it prints."""
    begun = []

    def start(code, **variables):
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(SOURCE)} | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        begun.append(process)
        return process, process.stdout.readline().rstrip("\n")

    yield start
    for process in begun:
        process.kill()
        process.communicate()


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, "")


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_second_run_is_told_who_the_first_is_and_takes_over_when_that_one_is_killed(begin, tmp_path):
    first, _ = begin(RUN)
    with pytest.raises(StudyError) as caught:
        claim("locks")
    message = str(caught.value)
    assert message.startswith(
        f"{tmp_path}: another run is at work here (process {first.pid} on {platform.node()} since 2"
    )
    assert message.endswith("wait for it or end it, then start again")
    assert "\n" not in message
    assert not os.environ[VARIABLE]
    kill(first)
    second, said = begin(RUN)
    assert f"process {second.pid} on" in said


def test_a_job_that_outlives_its_run_keeps_the_folder(begin):
    first, run = begin(RUN)
    job, _ = begin(JOB, **{VARIABLE: run})
    kill(first)
    for _ in range(2):  # a refused run changes nothing
        with pytest.raises(StudyError) as caught:
            claim("locks")
        assert f"jobs of an earlier run (process {first.pid} on" in str(caught.value)
        assert f"still work here: process {job.pid}; wait for them or end them" in str(caught.value)
    kill(job)
    begin(RUN)


def test_a_job_that_starts_after_its_run_was_replaced_does_nothing(begin):
    first, run = begin(RUN)
    kill(first)
    second, _ = begin(RUN)
    job, said = begin(JOB, **{VARIABLE: run})
    assert said == ""
    assert f"process {first.pid} on" in (errors := job.communicate()[1])
    assert f"process {second.pid} on" in errors
    assert "took over" in errors


def test_jobs_of_one_run_share_the_folder_with_it(begin):
    _, run = begin(RUN)
    for _ in range(2):
        assert begin(JOB, **{VARIABLE: run})[1] == "joined"


def test_a_stage_run_by_hand_needs_no_run():
    join()
    assert list(Path.cwd().iterdir()) == []


def test_without_locks_the_study_goes_on_and_says_so(monkeypatch, capsys):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    claim("locks")
    said = capsys.readouterr().err
    assert "no locks on this file system (No locks available): take care that no second run" in said
    assert said.count("\n") == 1
    assert not os.environ[VARIABLE]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match=r"file/locks: Not a directory"):
        claim("file/locks")
