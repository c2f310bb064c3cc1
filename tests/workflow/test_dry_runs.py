"""The workflow plans every config, and tells a wrong one in one line before anything runs."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FULL = ["--configfile", "profiles/slurm-gh200/config.yaml"]
SLURM = ["--workflow-profile", "profiles/slurm-gh200"]


def test_the_default_study_is_one_job_a_checkpoint_a_point_a_policy_and_a_figure(study):
    jobs = study.to_do("--cores", "2")
    assert {name: jobs[name] for name in ("target", "data", "capture", "machine", "results")} == {
        "target": 1,
        "data": 1,
        "capture": 1,
        "machine": 1,
        "results": 1,
    }
    assert (jobs["train"], jobs["quality"], jobs["acceptance"], jobs["speed"]) == (10, 10, 25, 2)
    assert jobs["acceptance_of_others"] == 2
    assert sum(name.startswith("figure_") for name in jobs) == 11


@pytest.mark.parametrize("profile", [[], SLURM], ids=["local", "slurm"])
def test_the_full_study_is_planned(study, profile):
    jobs = study.to_do(*profile, *FULL)
    assert (jobs["train"], jobs["quality"], jobs["speed"]) == (44, 44, 3)
    assert sum(name.startswith("figure_") for name in jobs) == 11


def test_on_the_cluster_the_rules_that_ask_for_a_gpu_are_given_its_model():
    text = "".join(path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
    rules: dict[str, bool] = {}
    for block in re.split(r"^(?=use rule |rule )", text, flags=re.MULTILINE)[1:]:
        used, name = re.match(r"(?:use rule (\w+) as|rule) (\w+)", block).groups()
        rules[name] = "gpu=1" in block or rules.get(used, False)  # a rule that uses another one keeps its resources
    profile = yaml.safe_load((ROOT / "profiles/slurm-gh200/profile.yaml").read_text())
    given = {rule for rule, resources in profile["set-resources"].items() if resources.get("gpu_model")}
    assert given == {rule for rule, gpu in rules.items() if gpu}
    assert {"train", "speed"} <= given
    assert set(profile["set-resources"]) | set(profile["set-threads"]) <= set(rules)


def test_the_benchmarks_are_a_target_of_their_own(study):
    jobs = study.to_do("--cores", "2", "all_benchmarks")
    assert {name for name in jobs if name.startswith("figure_")} == {"figure_batch", "figure_peers", "figure_compile"}
    assert {name: jobs[name] for name in ("batch", "peers", "identity", "compile", "side_table")} == {
        "batch": 1,
        "peers": 1,
        "identity": 1,
        "compile": 1,
        "side_table": 3,
    }


def test_all_results_draws_no_figure(study):
    assert not any(name.startswith("figure_") for name in study.to_do("all_results"))


def test_one_core_is_enough(study):
    assert study.to_do("--cores", "1", "all_figures")["speed"] == 2


WRONG = [
    ("training/epoch", 3, 'config.yaml: training.epoch: unknown key; did you mean "epochs"?'),
    ("sweeps/layers/T/0", 0, "config.yaml: sweeps.layers.T.0: 0 is not > 0"),
    ("sweeps/gamma/gamma/0", 0, "config.yaml: sweeps.gamma.gamma.0: 0 is not ≥ 1"),
    ("policies/t0.7/top_p", 1.5, "config.yaml: policies.t0.7.top_p: 1.5 is not in (0, 1]"),
    ("sweeps/layers/policy/0", "greed", 'config.yaml: sweeps.layers.policy.0: "greed" is not a key of policies'),
]


@pytest.mark.parametrize(("path", "value", "message"), WRONG, ids=[path for path, _, _ in WRONG])
def test_a_wrong_config_stops_the_workflow_with_one_line(study_at, tmp_path, path, value, message):
    study = study_at(tmp_path / "study")
    study.configure((path, value))
    done = study.snakemake("--cores", "1", "all_figures")
    assert done.returncode != 0
    assert message in done.output
    assert "Traceback" not in done.output
    assert not (study / "results").exists()


def test_a_wrong_configfile_is_named(study, tmp_path):
    (tmp_path / "mine.yaml").write_text("target: 3\n")
    done = study.snakemake("--dry-run", "--configfile", str(tmp_path / "mine.yaml"))
    assert done.returncode != 0
    assert "mine.yaml: target: 3 is not a mapping" in done.output
