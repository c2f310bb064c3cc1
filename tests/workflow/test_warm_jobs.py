"""A job that is a fork ends and writes as the command does, and does not outlive who asked for it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

SOURCE = str(Path(__file__).resolve().parents[2] / "src")
WITH_SOURCE = os.environ | {"PYTHONPATH": SOURCE}


def test_words_outputs_and_exit_statuses_are_those_of_the_command(warm_python, tmp_path):
    for words, code in ((["-m", "selfdraft", "--help"], 0), (["-m", "selfdraft", "nonsense"], 2), (["-c", "1 / 0"], 1)):
        done = [
            subprocess.run([python, *words], cwd=tmp_path, env=WITH_SOURCE, capture_output=True, text=True)
            for python in (warm_python, sys.executable)
        ]
        assert [one.returncode for one in done] == [code, code], done
        assert done[0].stdout == done[1].stdout
        assert done[0].stderr == done[1].stderr


def test_a_job_whose_client_is_killed_is_ended(warm_python, tmp_path):
    marker = f"{tmp_path}/steps.json"
    words = ["-m", "selfdraft", "machine", "--out", marker]
    client = subprocess.Popen([warm_python, *words], env=WITH_SOURCE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    mine = psutil.Process()
    while sum("warm_jobs.py" in " ".join(one.cmdline()) for one in mine.children(recursive=True)) < 3:
        assert client.poll() is None  # the server, who attends to the client, and the job
        time.sleep(0.01)
    client.kill()
    client.stdout.read()  # until the job, which has it too, is gone
    client.wait()
    assert not Path(marker).exists()
