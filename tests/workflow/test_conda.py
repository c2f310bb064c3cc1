"""`--use-conda`: environments that hold what the rules need, jobs that run in them, and a conda that cannot be used."""

import os
import shutil
from pathlib import Path

import conda_double
import pytest
import yaml
from tiny import main as tiny_study

ROOT = Path(__file__).resolve().parents[2]
USE = ["--cores", "1", "--use-conda"]
SLURM = ["--workflow-profile", "profiles/slurm-gh200"]
ALONE = "/usr/bin:/bin"  # a PATH without the project's environment


@pytest.fixture(autouse=True)
def no_choice(monkeypatch):
    monkeypatch.delenv("SELFDRAFT_ENVIRONMENT", raising=False)


@pytest.fixture
def conda(tmp_path, monkeypatch):
    """Put a conda of the given version on the PATH, the stand-in."""

    def install(version=conda_double.VERSION):
        conda_double.install(tmp_path / "conda/bin", version)
        monkeypatch.setenv("PATH", f"{tmp_path}/conda/bin:{ALONE}")

    return install


def environments(done):
    """The environment files that a dry run says it would create environments from."""
    assert done.returncode == 0, done.output
    return [line.split()[2] for line in done.output.splitlines() if line.startswith("Conda environment ")]


@pytest.mark.skipif(shutil.which("nvidia-smi", path=ALONE) is not None, reason="this machine has an NVIDIA driver")
def test_a_machine_without_gpu_gets_the_environment_for_cpus(study, conda):
    conda()
    assert environments(study.snakemake(*USE, "--dry-run")) == ["envs/study.yaml"]


def test_a_machine_with_a_driver_gets_cuda_unless_told_otherwise(study, conda, tmp_path, monkeypatch):
    conda()
    (tmp_path / "conda/bin/nvidia-smi").write_text("#!/bin/sh\n")
    (tmp_path / "conda/bin/nvidia-smi").chmod(0o755)
    assert environments(study.snakemake(*USE, "--dry-run")) == ["envs/study-cuda.yaml"]
    monkeypatch.setenv("SELFDRAFT_ENVIRONMENT", "cpu")
    assert environments(study.snakemake(*USE, "--dry-run")) == ["envs/study.yaml"]


def test_a_profile_that_gives_jobs_a_gpu_model_gets_cuda_for_all_rules(study, conda):
    conda()
    assert environments(study.snakemake(*SLURM, "--use-conda", "--dry-run")) == ["envs/study-cuda.yaml"]


def test_an_unknown_environment_is_refused(study, monkeypatch):
    monkeypatch.setenv("SELFDRAFT_ENVIRONMENT", "gpu")
    done = study.snakemake("--dry-run")
    assert done.returncode != 0
    assert "SELFDRAFT_ENVIRONMENT=gpu: no such environment; set it to cpu or cuda" in done.output


def test_no_rule_names_an_environment_of_its_own():
    lines = [line.strip() for path in (ROOT / "workflow/rules").glob("*.smk") for line in path.read_text().splitlines()]
    after = {lines[number + 1] for number, line in enumerate(lines) if line == "conda:"}
    assert after == {"ENVIRONMENT"}


@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["run", "dry run"])
def test_without_conda_the_one_line_names_the_remedy(study_at, tmp_path, monkeypatch, dry):
    if shutil.which("conda", path=ALONE):
        pytest.skip("conda is installed for all users of this machine")
    monkeypatch.setenv("PATH", ALONE)
    study = study_at(tmp_path / "study")
    done = study.snakemake(*USE, *dry)
    assert done.returncode != 0
    assert "--use-conda: no command `conda` on the PATH; install conda 24.7.1 or newer" in done.output
    assert "Traceback" not in done.output
    assert not (study / "results").exists()


def test_a_conda_that_is_too_old_is_named_with_the_remedy(study, conda):
    conda("4.12.0")
    done = study.snakemake(*USE, "--dry-run")
    assert done.returncode != 0
    assert "--use-conda: conda 4.12.0 is too old; `conda update --name base conda` brings a newer one" in done.output


def small(config):
    """The tiny study with one draft, one way of sampling and no tables beside the results."""
    for section in ("batch", "lengths", "peers", "identity", "compile", "domains", "drafters", "drafting"):
        del config[section]
    del config["policies"]["t0.7"]
    config["sweeps"] = {
        "layers": {"layer": [1], "T": [1.0], "capacity": ["head"], "gamma": [2], "policy": ["greedy"]},
    }
    return config


@pytest.fixture(scope="module")
def in_conda(study_at, tmp_path_factory):
    """The small study, run by `snakemake --cores 1 --use-conda all_figures`; plans of the same after it."""
    folder = tmp_path_factory.mktemp("in_conda")
    study = study_at(folder / "study")
    tiny_study(str(study.folder))
    config = small(yaml.safe_load((ROOT / "tests/workflow/tiny.yaml").read_text()))
    (study / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFDRAFT_ENVIRONMENT", "cpu")
        if os.environ.get("SELFDRAFT_REAL_CONDA") != "1":
            conda_double.install(folder / "conda/bin")
            patch.setenv("PATH", f"{folder}/conda/bin:{ALONE}")
        study.planned = study.to_do(*USE, "all_figures")
        study.done = study.snakemake(*USE, "all_figures")
        assert study.done.returncode == 0, study.done.output
        study.again = study.to_do(*USE, "all_figures")
        patch.setenv("SELFDRAFT_ENVIRONMENT", "cuda")
        study.elsewhere = study.to_do(*USE, "all_figures")
        study.kept = study.to_do(*USE, "--rerun-triggers", "mtime", "input", "params", "code", "--", "all_figures")
    return study


@pytest.mark.conda
def test_the_users_command_creates_the_environment_and_draws_the_figures(in_conda):
    assert "Creating conda environment envs/study.yaml" in in_conda.done.output
    assert (in_conda / "paper_figures/pareto.pdf").read_bytes().startswith(b"%PDF")
    assert in_conda.again == {}


@pytest.mark.conda
def test_every_job_runs_in_the_environment(in_conda):
    jobs = {name: number for name, number in in_conda.planned.items() if not name.startswith("all_")}
    assert in_conda.done.output.count("Activating conda environment: .snakemake/conda/") == sum(jobs.values())
    for path in (in_conda / ".snakemake/conda").glob("*.started"):  # the stand-in writes it
        started = [words.split()[2] for words in path.read_text().splitlines() if words.startswith("-m selfdraft ")]
        assert len(started) == sum(jobs.values())
        assert {"target", "data", "capture", "train", "quality", "acceptance", "speed", "figure"} <= set(started)


@pytest.mark.conda
@pytest.mark.skipif(os.environ.get("SELFDRAFT_REAL_CONDA") == "1", reason="only the stand-in says what pip would add")
def test_pip_has_nothing_to_choose_but_the_cuda_libraries_that_the_other_file_pins(in_conda):
    (unpinned,) = (in_conda / ".snakemake/conda").glob("*.unpinned")
    cuda = yaml.safe_load((ROOT / "envs/study-cuda.yaml").read_text())["dependencies"][-1]["pip"]
    assert set(unpinned.read_text().split()) <= {conda_double.plain(text.split("==")[0]) for text in cuda}


@pytest.mark.conda
def test_another_environment_makes_all_results_again_unless_told_to_keep_them(in_conda):
    assert in_conda.elsewhere == in_conda.planned
    assert in_conda.kept == {}
