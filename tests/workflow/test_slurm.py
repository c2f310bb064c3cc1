"""The study on a real SLURM of one node: end to end, and with jobs that are killed in the middle of training."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file
from tiny import main as tiny_study
from workflow.one_node import PARTITION, OneNode, missing

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
        except RuntimeError as error:
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
        "slurm-init-seconds-before-status-checks": 6,
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
    return [sys.executable, "-m", "snakemake", "--workflow-profile", "profiles/slurm-gh200", *words]


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def jobs():
    """What SLURM knows of its jobs: a mapping of their fields each, an array's tasks one by one."""
    shown = subprocess.run(["scontrol", "--oneliner", "show", "job"], capture_output=True, text=True, timeout=60).stdout
    found = [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in shown.splitlines()]
    return [job for job in found if "JobId" in job]


@pytest.fixture(scope="module")
def finished(slurm, study_at, tmp_path_factory):
    """A study made on the cluster, and the jobs that SLURM ran for it."""
    if slurm.accounting and not os.environ.get("SELFDRAFT_ALL_OF_SLURM"):
        pytest.skip("made once, without an accounting database; SELFDRAFT_ALL_OF_SLURM=1 makes it with one too")
    study = study_at(tmp_path_factory.mktemp("on_slurm") / "study")
    prepare(study, ("shards", 2))
    profile_for(study, slurm)
    done = subprocess.run(
        command("all_figures"), cwd=study.folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=2400
    )
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
    assert all(job["JobState"] == "COMPLETED" for job in ran)


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


def training(study):
    """Process ids of the study's running training stages."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if words[1:4] == [b"-m", b"selfdraft", b"train"] and os.readlink(entry / "cwd") == str(study.folder):
                found.append(int(entry.name))
        except (OSError, ValueError):
            pass
    return found


def wait_for(condition, run, seconds=900):
    for _ in range(5 * seconds):
        if found := condition():
            return found
        assert run.poll() is None, run.communicate()[0]
        time.sleep(0.2)
    raise AssertionError(f"waited {seconds} s in vain")


DRAFT = "results/checkpoints/layer1_T1.0_head_block"
STATE = "results/state/train/layer1_T1.0_head_block.safetensors"
LONG = ("training", {"epochs": 40, "tokens_per_step": 64})


@pytest.fixture(scope="module")
def uninterrupted(study_at, tmp_path_factory):
    """The draft of a run on this machine that nobody interrupts; sources and captured states serve the others."""
    study = study_at(tmp_path_factory.mktemp("uninterrupted") / "study")
    prepare(study, LONG, capacity=["head_block"])
    done = study.snakemake("--cores", "2", f"{DRAFT}/draft.safetensors")
    assert done.returncode == 0, done.output
    return study


def expire(study, run):
    """Let a job run into its time limit: stopped, it makes no progress; SLURM wakes it to be terminated."""
    for process in training(study):
        os.kill(process, signal.SIGSTOP)
    wait_for(lambda: [job for job in jobs() if job["JobState"] == "TIMEOUT"], run)


def cancel(study, run):
    (job,) = [job["JobId"] for job in jobs() if job["JobState"] == "RUNNING" and job["WorkDir"] == str(study.folder)]
    subprocess.run(["scancel", job], check=True)


def kill(study, run):
    """What a node's failure does: the stage is gone at once."""
    for process in training(study):
        os.kill(process, signal.SIGKILL)


@pytest.mark.parametrize("end", [expire, cancel, kill], ids=["time limit", "scancel", "SIGKILL"])
def test_a_killed_training_job_is_submitted_again_and_gives_the_same_tensors(
    slurm, uninterrupted, study_at, tmp_path, end
):
    if slurm.accounting and end is not kill:
        pytest.skip("with sacct tried once; the executor (2.8) does not know sacct's word for a cancelled job")
    study = study_at(tmp_path / "study")
    for name in ("results", ".snakemake"):
        shutil.copytree(uninterrupted / name, study / name)
    for name in ("config.yaml", "target", "conversations.json"):
        copy = shutil.copytree if (uninterrupted / name).is_dir() else shutil.copy2
        copy(uninterrupted / name, study / name)
    shutil.rmtree(study / DRAFT)
    limits = {"runtime": 1} if end is expire else {}
    profile_for(study, slurm, train={"save_steps": 5, **limits})
    run = subprocess.Popen(
        command(f"{DRAFT}/draft.safetensors"),
        cwd=study.folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        wait_for((study / STATE).exists, run)
        end(study, run)
        output, _ = run.communicate(timeout=600)
    finally:
        if run.poll() is None:
            run.terminate()
            run.wait(60)
    assert run.returncode == 0, output
    assert "training goes on after step" in (study / "results/logs/train/layer1_T1.0_head_block.log").read_text()
    ours, theirs = (load_file(folder / f"{DRAFT}/draft.safetensors") for folder in (study, uninterrupted))
    assert ours.keys() == theirs.keys()
    assert all(ours[name].equal(theirs[name]) for name in ours)
    logs = [(folder / f"{DRAFT}/train_log.jsonl").read_text() for folder in (study, uninterrupted)]
    assert logs[0] == logs[1]
    assert not (study / STATE).exists()


def test_two_gpus_for_training_start_two_processes(slurm, uninterrupted, study_at, tmp_path):
    if slurm.accounting:
        pytest.skip("the same with an accounting database")
    study = study_at(tmp_path / "study")
    prepare(study, capacity=["head_block"])
    profile_for(study, slurm, train={"gpu": 2})
    done = subprocess.run(
        command(f"{DRAFT}/draft.safetensors"), cwd=study.folder, env=ENVIRONMENT, capture_output=True, text=True,
        timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((study / DRAFT / "config.json").read_text())["processes"] == 2
    (job,) = [job for job in jobs() if "rule_train" in job["Comment"] and job["WorkDir"] == str(study.folder)]
    assert job["TresPerJob"] == "gres:gpu:gh200:2"


WRONG = [
    ({"slurm_partition": "nowhere"}, r"partition nowhere is not on this cluster (gh); set slurm_partition"),
    ({"gpu_model": "a100"}, "asks for a GPU of model a100, a node of partition gh has 2 gh200; set gpu_model"),
    ({"gpu": 3}, "asks for 3 GPUs, a node of partition gh has 2 gh200; set gpu in the profile"),
    ({"mem_mb": 900000}, "asks for 900000 MB, a node of partition gh has {memory} MB; set mem_mb"),
]


@pytest.mark.parametrize(("resources", "message"), WRONG, ids=[next(iter(resources)) for resources, _ in WRONG])
def test_what_the_cluster_does_not_have_is_told_before_any_job(slurm, study_at, tmp_path, resources, message):
    if slurm.accounting:
        pytest.skip("the same with an accounting database")
    study = study_at(tmp_path / "study")
    prepare(study)
    profile_for(study, slurm, train=resources)
    before = len(jobs())
    done = subprocess.run(
        command("all_figures"), cwd=study.folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode != 0
    assert f"rule train: {message.format(memory=slurm.memory_mb)}" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert len(jobs()) == before


def test_without_an_accounting_database_sacct_is_not_waited_for(slurm, study_at, tmp_path):
    if slurm.accounting:
        pytest.skip("this one has a database")
    study = study_at(tmp_path / "study")
    prepare(study)
    profile_for(study, slurm, status="sacct")
    done = subprocess.run(
        command("all_figures"), cwd=study.folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode != 0
    assert "set `slurm-status-command: squeue` in the profile" in done.stdout + done.stderr


def test_a_gpu_that_pytorch_cannot_use_ends_the_job_with_the_remedy(slurm, study_at, tmp_path):
    if slurm.accounting:
        pytest.skip("the same with an accounting database")
    study = study_at(tmp_path / "study")
    prepare(study)
    profile_for(study, slurm)
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "SELFDRAFT_DEVICE"}
    done = subprocess.run(
        command("--retries", "0", "results/machine.json"),
        cwd=study.folder, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode != 0
    assert "SLURM gave this job GPU" in (study / "results/logs/machine.log").read_text()
