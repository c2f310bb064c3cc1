"""What SLURM answers is read right, and a request that no node can fulfil is told with its remedy."""

import os
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

from selfdraft.errors import StudyError
from selfdraft.study import cluster
from selfdraft.study.cluster import (
    Partition,
    Request,
    check_cluster,
    check_slurm,
    partitions_of,
    problem_of,
    request_of,
)

SINFO = """\
gh|1-00:00:00|72|480000|gpu:gh200:4(S:0-3)
gh|1-00:00:00|72+|240000+|gpu:gh200:2
debug|30:00|64|1|gpu:2,license:x:1
cpu|infinite|128|256000|(null)
"""
GOOD = Request("train", "gh", 1440, 72, 100000, 4, "gh200")


def test_partitions_are_read_with_their_largest_nodes():
    assert partitions_of(SINFO) == {
        "gh": Partition(1440, 72, 480000, {"gh200": 4}),
        "debug": Partition(30, 64, 1, {"": 2}),
        "cpu": Partition(None, 128, 256000, {}),
    }


@pytest.mark.parametrize(
    ("text", "minutes"), [("30:00", 30), ("2:00:00", 120), ("3-12:30:00", 5070), ("infinite", None), ("n/a", None)]
)
def test_time_limits_are_minutes(text, minutes):
    assert cluster._minutes(text) == minutes


WRONG = [
    ({"partition": "gpu"}, r"partition gpu is not on this cluster \(gh, debug, cpu\); set slurm_partition"),
    ({"partition": "cpu"}, "asks for a GPU, and the nodes of partition cpu have none; set slurm_partition"),
    ({"gpu_model": "h100"}, "asks for a GPU of model h100, a node of partition gh has 4 gh200; set gpu_model"),
    ({"partition": "debug", "minutes": 1}, "model gh200, a node of partition debug has 2; leave out gpu_model"),
    ({"gpus": 5}, "asks for 5 GPUs, a node of partition gh has 4 gh200; set gpu"),
    ({"minutes": 1441}, "asks for 1441 minutes, partition gh allows 1440; set runtime"),
    ({"cores": 73}, "asks for 73 cores, a node of partition gh has 72; set cores"),
    ({"memory_mb": 480001}, "asks for 480001 MB, a node of partition gh has 480000 MB; set mem_mb"),
]


@pytest.mark.parametrize(("change", "problem"), WRONG)
def test_what_no_node_can_fulfil_is_told_with_the_line_to_change(change, problem):
    partitions = partitions_of(SINFO)
    assert problem_of(GOOD, partitions) is None
    found = problem_of(replace(GOOD, **change), partitions)
    assert found is not None
    assert re.search(problem, found)


def test_what_the_nodes_do_not_say_is_not_refused():
    partitions = partitions_of(SINFO)
    assert problem_of(Request("data", None), partitions) is None  # the default partition
    assert problem_of(Request("data", "debug", 30, 1, 10**6), partitions) is None  # memory is not managed there
    assert problem_of(Request("train", "debug", 1, 1, 0, 2), partitions) is None  # GPUs without a model
    assert problem_of(Request("data", "cpu", 10**6), partitions) is None  # no time limit


def test_a_request_is_what_the_executor_would_ask_for():
    resources = {"slurm_partition": "gh", "runtime": 60, "mem_mb": 5, "gpu": 2, "gpu_model": "gh200", "tmpdir": "<TBD>"}
    assert request_of("train", 8, resources) == Request("train", "gh", 60, 8, 5, 2, "gh200")
    assert request_of("data", 1, {"mem_mb": "<TBD>", "cpus_per_task": 3}) == Request("data", None, 0, 3)


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Write programs that are found in place of SLURM's."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def write(**scripts):
        for name, script in scripts.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / name).chmod(0o755)

    return write


def test_without_slurm_the_remedy_is_a_login_node(commands):
    with pytest.raises(StudyError, match="sbatch is not on the PATH; start Snakemake on a login node"):
        check_cluster([], "squeue")


def test_a_controller_that_does_not_answer_is_told(commands, monkeypatch):
    commands(sbatch="", sinfo="echo slurm_load_partitions: Unable to contact slurm controller >&2; exit 1")
    with pytest.raises(StudyError, match=r"sinfo failed \(.*Unable to contact slurm controller\); try it by hand"):
        check_cluster([], "squeue")
    monkeypatch.setattr(cluster, "PATIENCE", 0.2)
    commands(sinfo=f"exec {os.path.realpath('/bin/sleep')} 20")
    with pytest.raises(StudyError, match="sinfo gave no answer in"):
        check_cluster([], "squeue")


def test_sacct_without_a_database_is_told_before_it_is_waited_for(commands):
    commands(sbatch="", sinfo="echo 'gh|infinite|72|1|(null)'", sacct="echo accounting storage is disabled >&2; exit 1")
    commands(scontrol="echo 'MinJobAge               = 300 sec'")
    check_cluster([Request("data", "gh")], "squeue")
    with pytest.raises(StudyError, match=r"disabled.*set `slurm-status-command: squeue` in the profile"):
        check_cluster([Request("data", "gh")], "sacct")


def test_ended_jobs_that_squeue_forgets_too_soon_are_told(commands):
    commands(sbatch="", sinfo="echo 'gh|infinite|72|1|(null)'", sacct="")
    commands(scontrol="echo 'MinJobAge               = 120 sec'")
    with pytest.raises(StudyError, match=r"after 120 s \(MinJobAge\).*set `slurm-status-command: sacct`"):
        check_cluster([Request("data", "gh")], "squeue")
    check_cluster([Request("data", "gh")], "sacct")


def test_only_jobs_that_go_to_slurm_are_checked(commands):
    job = SimpleNamespace(is_local=False, rule=SimpleNamespace(name="train"), threads=1, resources={})
    workflow = SimpleNamespace(
        executor_plugin=SimpleNamespace(name="local"),
        executor_settings=SimpleNamespace(status_command="squeue"),
        dag=SimpleNamespace(needrun_jobs=lambda: [job]),
    )
    check_slurm(workflow)
    workflow.executor_plugin.name = "slurm"
    with pytest.raises(StudyError, match="sbatch"):
        check_slurm(workflow)
