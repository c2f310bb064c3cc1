"""A run is not over while jobs behind `ancient` inputs were not looked at."""

from pathlib import Path

import pytest
from warm import SNAKEMAKE

SOURCE = Path(__file__).resolve().parents[2] / "src"
SNAKEFILE = f"""
import sys
sys.path.insert(0, {str(SOURCE)!r})
from selfdraft.study.second_look import look_again
onsuccess:
    look_again(workflow)
rule all:
    input: "c"
rule a:
    input: "start"
    output: "a"
    shell: "cp {{input}} {{output}}"
rule b:
    input: ancient("a")
    output: "b"
    shell: "cp {{input}} {{output}}"
rule c:
    input: "b"
    output: "c"
    shell: "cp {{input}} {{output}}"
"""


@pytest.fixture
def run(tmp_path):
    """Snakemake in a small workflow whose start has changed since `a` was made, and where `c` is missing."""
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "start").write_text("one")

    def snakemake(*words, **variables):
        done = SNAKEMAKE.run(["--cores", "1", *words], tmp_path, **variables)
        assert done.returncode == 0, done.stderr
        return done.stderr.count("Looking for jobs that depend on what ran")

    assert snakemake() == 0
    (tmp_path / "start").write_text("two")
    (tmp_path / "c").unlink()
    return snakemake


def test_what_the_first_plan_left_out_is_done_in_the_same_run(run, tmp_path):
    assert run() == 1
    assert [(tmp_path / name).read_text() for name in "abc"] == ["two", "one", "one"]
    assert run() == 0


def test_the_second_look_is_the_last(run, tmp_path):
    assert run(SELFDRAFT_SECOND_LOOK="1") == 0
    assert not (tmp_path / "c").exists()  # what Snakemake itself does, and the reason for the second look


def test_a_forced_job_is_run_once(run, tmp_path):
    (tmp_path / "c").write_text("there")
    assert run("--forcerun", "a") == 0
