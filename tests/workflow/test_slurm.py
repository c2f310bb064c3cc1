"""The study on a real SLURM of one node: from its sources to its figures, and a training that is ended every way."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file
from tiny import main as tiny_study
from workflow.one_node import PARTITION, OneNode, missing

from selfdraft.errors import StudyError
from selfdraft.study.cluster import Request, check_cluster
from selfdraft.study.drawing import FIGURES

ROOT = Path(__file__).resolve().parents[2]
SWEEP = {"layer": [1], "T": [1.0], "capacity": ["head", "head_block"], "gamma": [2], "policy": ["greedy"]}
# The fake GPUs can compute nothing.
ENVIRONMENT = os.environ | {"SELFDRAFT_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module", params=["squeue", "sacct"])
def slurm(request, tmp_path_factory):
    """A running SLURM, without an accounting database and with one."""
    accounting = request.param == "sacct"
    if reason := missing(accounting):
        pytest.skip(f"no SLURM here: {reason}")
    node = OneNode(tmp_path_factory.mktemp("slurm"), accounting)
    try:
        try:
            node.start()
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"SLURM is installed and does not start here: {error}")
        yield node
    finally:
        node.stop()


def profile_for(study, slurm, status=None, **changes):
    """The cluster's profile with the lines marked SITE set for this node, and what `changes` says of rules."""
    path = study / "profiles/slurm-gh200/profile.yaml"
    profile = yaml.safe_load((ROOT / "profiles/slurm-gh200/profile.yaml").read_text())
    profile |= {
        "cores": 2,
        "set-threads": {"train": 1},
        "latency-wait": 10,
        "slurm-init-seconds-before-status-checks": 1,
    }
    profile |= {"configfile": str(study / "config.yaml"), "slurm-status-command": status or slurm.status}
    profile["default-resources"] |= {"slurm_partition": PARTITION, "slurm_account": "study", "mem_mb": 1000}
    for resources in profile["set-resources"].values():
        resources |= {"mem_mb": 2000, "runtime": 10}
    for rule, resources in changes.items():
        profile["set-resources"][rule] |= resources
    path.write_text(yaml.safe_dump(profile))


def prepare(study, *settings, **sweep):
    """The tiny study with one small sweep."""
    tiny_study(str(study.folder))
    tiny = yaml.safe_load((ROOT / "tests/workflow/tiny.yaml").read_text())
    for section in ("batch", "lengths", "peers", "identity", "compile", "domains", "drafters"):
        tiny.pop(section)
    tiny["sweeps"] = {"layers": SWEEP | sweep}
    for section, changes in settings:
        tiny[section] = tiny[section] | changes if isinstance(changes, dict) else changes
    (study / "config.yaml").write_text(yaml.safe_dump(tiny))


def command(*words):
    """Snakemake on the cluster; it asks often how its jobs do."""
    asking = str(Path(__file__).with_name("asking_often.py"))
    return [sys.executable, asking, "--workflow-profile", "profiles/slurm-gh200", *words]


def on_cluster(study, *words, environment=ENVIRONMENT):
    """The end of such a run."""
    return subprocess.run(
        command(*words), cwd=study.folder, env=environment, capture_output=True, text=True, timeout=2400
    )


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def jobs():
    """What SLURM knows of its jobs: a mapping of their fields each, an array's tasks one by one."""
    shown = subprocess.run(["scontrol", "--oneliner", "show", "job"], capture_output=True, text=True, timeout=60).stdout
    found = [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in shown.splitlines()]
    return [job for job in found if "JobId" in job]


DRAFT = "results/checkpoints/layer1_T1.0_head_block"
STATE = "results/state/train/layer1_T1.0_head_block.safetensors"
LONG = ("training", {"epochs": 40, "tokens_per_step": 64})


def training(study):
    """Process ids of the stages that train this draft."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            stage = words[1:4] == [b"-m", b"selfdraft", b"train"] and DRAFT.encode() in words
            if stage and os.readlink(entry / "cwd") == str(study.folder):
                found.append(int(entry.name))
        except (OSError, ValueError):
            pass
    return found


def wait_for(condition, study, run, seconds=900):
    for _ in range(5 * seconds):
        if found := condition():
            return found
        assert run.poll() is None, (study / "output.txt").read_text()
        time.sleep(0.2)
    raise AssertionError(f"waited {seconds} s in vain")


def job_of(process):
    environment = Path(f"/proc/{process}/environ").read_text().split("\0")
    (job,) = (line.partition("=")[2] for line in environment if line.startswith("SLURM_JOB_ID="))
    return job


def expire(process):
    """Let the job run into its time limit: stopped, it makes no progress; SLURM wakes it to be terminated."""
    os.kill(process, signal.SIGSTOP)
    subprocess.run(["scontrol", "update", f"JobId={job_of(process)}", "TimeLimit=1"], check=True)


def cancel(process):
    subprocess.run(["scancel", job_of(process)], check=True)


def kill(process):
    """What a node's failure does: the stage is gone at once."""
    os.kill(process, signal.SIGKILL)


ENDS = {expire: "TIMEOUT", cancel: "CANCELLED", kill: "FAILED"}  # and what SLURM then says of the job


def end_training(study, run, ends):
    """End the training in these ways, one after the other, each time after it has gone on a little."""
    seen = None
    for end in ends:
        wait_for(lambda seen=seen: (study / STATE).exists() and (study / STATE).stat().st_mtime_ns != seen, study, run)
        (process,) = wait_for(lambda: training(study), study, run)
        end(process)
        wait_for(lambda process=process: process not in training(study), study, run)
        seen = (study / STATE).stat().st_mtime_ns  # it may have been saved when the process was told to end


def made_though_ended(study, ends, *words):
    """A run on the cluster whose training is ended in these ways."""
    with open(study / "output.txt", "w") as output:
        run = subprocess.Popen(
            command(*words), cwd=study.folder, env=ENVIRONMENT, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        end_training(study, run, ends)
        run.wait(timeout=1200)
    finally:
        if run.poll() is None:
            run.terminate()
            run.wait(60)
    assert run.returncode == 0, (study / "output.txt").read_text()


@pytest.fixture(scope="module")
def uninterrupted(study_at, warm_python, tmp_path_factory):
    """The draft of a run on this machine that nobody interrupts; sources and captured states serve the others."""
    study = study_at(tmp_path_factory.mktemp("uninterrupted") / "study")
    prepare(study, LONG, capacity=["head_block"])
    done = study.snakemake("--cores", "2", f"{DRAFT}/draft.safetensors", python=warm_python)
    assert done.returncode == 0, done.output
    return study


def without_draft(uninterrupted, study):
    """That study before its training."""
    for name in ("results", ".snakemake"):
        shutil.copytree(uninterrupted / name, study / name)
    for name in ("config.yaml", "target", "conversations.json"):
        copy = shutil.copytree if (uninterrupted / name).is_dir() else shutil.copy2
        copy(uninterrupted / name, study / name)
    shutil.rmtree(study / DRAFT)
    # The stamps of sources are named after where they lie: to Snakemake those of a copy are new.
    touched = study.snakemake("--cores", "1", "--touch", "results/capture/tiny_chats/capture.json")
    assert touched.returncode == 0, touched.output
    return study


@pytest.fixture(scope="module")
def finished(slurm, study_at, warm_python, tmp_path_factory):
    """A study made on the cluster, and the jobs that SLURM ran for it, whose Snakemakes and stages are forks."""
    if slurm.accounting and not os.environ.get("SELFDRAFT_ALL_OF_SLURM"):
        pytest.skip("made once, without an accounting database; SELFDRAFT_ALL_OF_SLURM=1 makes it with one too")
    study = study_at(tmp_path_factory.mktemp("on_slurm") / "study")
    prepare(study, ("shards", 2))
    profile_for(study, slurm)
    done = on_cluster(study, "all_figures", environment=ENVIRONMENT | {"JOBS_PYTHON": warm_python})
    assert done.returncode == 0, done.stdout + done.stderr
    return study, [job for job in jobs() if job["WorkDir"] == str(study.folder)]


def test_the_study_runs_from_its_sources_to_its_figures(finished):
    study, _ = finished
    results = rows(study / "results/results.csv")
    assert {row["capacity"] for row in results} == {"head", "head_block"}
    assert all(float(row["identical"]) == 1 and float(row["speedup"]) > 0 and row["kl"] for row in results)
    for figure in ("layer_sweep", "acceptance_sweep", "pareto", "training_curves"):
        assert figure in FIGURES
        assert (study / f"paper_figures/{figure}.pdf").read_bytes().startswith(b"%PDF")


def test_rules_that_compute_are_given_one_gpu_and_the_others_none(finished):
    _, ran = finished
    gpus = {}
    for job in ran:
        gpus.setdefault(job["Comment"].removeprefix("rule_").partition("_wildcards")[0], set()).add(
            job.get("TresPerJob")
        )
    with_gpu = {"machine", "capture", "vanilla", "train", "quality", "acceptance", "speed", "steps"}
    assert {name for name, asked in gpus.items() if asked == {"gres:gpu:gh200:1"}} == with_gpu
    assert {"data", "results"} <= {name for name, asked in gpus.items() if asked == {None}}


def test_equal_small_jobs_are_arrays_and_figures_are_one_job(finished):
    _, ran = finished
    arrays = {}
    for job in ran:
        if "ArrayTaskId" in job:
            arrays.setdefault(job["Comment"].partition("_wildcards")[0], set()).add(job["ArrayTaskId"])
    assert arrays["rule_train"] == {"1", "2"}
    assert arrays["rule_acceptance"] >= {"1", "2"}
    drawing = [job["Comment"] for job in ran if "figure" in job["Comment"]]
    assert len(drawing) == 1
    assert all(f"figure_{name}" in drawing[0] for name in ("acceptance_sweep", "capacity", "histograms"))


def goes_on_to_the_same(study, uninterrupted):
    """Whether the draft is that of the run that nobody interrupted, to the bit, and was not made anew."""
    assert "training goes on after step" in (study / "results/logs/train/layer1_T1.0_head_block.log").read_text()
    ours, theirs = (load_file(folder / f"{DRAFT}/draft.safetensors") for folder in (study, uninterrupted))
    assert ours.keys() == theirs.keys()
    assert all(ours[name].equal(theirs[name]) for name in ours)
    logs = [(folder / f"{DRAFT}/train_log.jsonl").read_text() for folder in (study, uninterrupted)]
    assert logs[0] == logs[1]
    assert not (study / STATE).exists()


def test_a_training_that_is_ended_in_every_way_is_submitted_again_and_gives_the_same_tensors(
    slurm, uninterrupted, study_at, tmp_path
):
    """By its time limit, by scancel and by SIGKILL; with an accounting database by SIGKILL alone."""
    ends = [kill] if slurm.accounting else list(ENDS)
    study = without_draft(uninterrupted, study_at(tmp_path / "study"))
    profile_for(study, slurm, train={"save_steps": 5})
    made_though_ended(study, ends, f"{DRAFT}/draft.safetensors")
    ran = [job for job in jobs() if job["WorkDir"] == str(study.folder)]
    ended = sorted(job["JobState"] for job in ran if job["JobState"] != "COMPLETED")
    assert ended == sorted(ENDS[end] for end in ends)
    assert all("rule_train" in job["Comment"] for job in ran if job["JobState"] != "COMPLETED")
    goes_on_to_the_same(study, uninterrupted)


def test_two_gpus_for_training_start_two_processes(slurm, uninterrupted, study_at, tmp_path):
    if slurm.accounting:
        pytest.skip("the same with an accounting database")
    study = without_draft(uninterrupted, study_at(tmp_path / "study"))
    config = yaml.safe_load((study / "config.yaml").read_text())
    config["training"]["epochs"] = 1
    (study / "config.yaml").write_text(yaml.safe_dump(config))
    profile_for(study, slurm, train={"gpu": 2})
    done = on_cluster(study, f"{DRAFT}/draft.safetensors")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((study / DRAFT / "config.json").read_text())["processes"] == 2
    (job,) = [job for job in jobs() if job["WorkDir"] == str(study.folder)]
    assert "rule_train" in job["Comment"]
    assert job["TresPerJob"] == "gres:gpu:gh200:2"


WRONG = [
    ({"partition": "nowhere"}, r"partition nowhere is not on this cluster (gh); set slurm_partition"),
    ({"gpu_model": "a100"}, "asks for a GPU of model a100, a node of partition gh has 2 gh200; set gpu_model"),
    ({"memory_mb": 900000}, "asks for 900000 MB, a node of partition gh has {memory} MB; set mem_mb"),
]


def test_what_the_cluster_does_not_have_is_told_before_any_job(slurm, study_at, tmp_path):
    if slurm.accounting:
        pytest.skip("the same with an accounting database")
    right = Request("train", PARTITION, 10, 1, 1000, 1, "gh200")
    check_cluster([right], "squeue")
    for change, message in WRONG:
        with pytest.raises(StudyError, match=re.escape(f"rule train: {message.format(memory=slurm.memory_mb)}")):
            check_cluster([right, replace(right, **change)], "squeue")
    with pytest.raises(StudyError, match="set `slurm-status-command: squeue` in the profile"):
        check_cluster([right], "sacct")  # which would be waited for without end
    study = study_at(tmp_path / "study")
    prepare(study)
    profile_for(study, slurm, train={"gpu": 3})
    before = len(jobs())
    done = on_cluster(study, "all_figures")
    assert done.returncode != 0
    said = "rule train: asks for 3 GPUs, a node of partition gh has 2 gh200; set gpu in the profile"
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert len(jobs()) == before


def test_a_gpu_that_pytorch_cannot_use_ends_the_job_with_the_remedy(slurm, study_at, tmp_path):
    if slurm.accounting:
        pytest.skip("the same with an accounting database")
    study = study_at(tmp_path / "study")
    prepare(study)
    profile_for(study, slurm)
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "SELFDRAFT_DEVICE"}
    done = on_cluster(study, "--retries", "0", "results/machine.json", environment=environment)
    assert done.returncode != 0
    assert "SLURM gave this job GPU" in (study / "results/logs/machine.log").read_text()
