"""The plan's jobs are those that Snakemake plans, rule by rule."""

from pathlib import Path

import pytest
import yaml
from tiny import main as tiny_study

from selfdraft.plan.dimensions import models_of
from selfdraft.plan.targets import by_rule, jobs_for
from selfdraft.study.config import load


@pytest.fixture
def at(study, monkeypatch):
    """The study's folder is the working directory; returns the study."""
    monkeypatch.chdir(study.folder)
    return study


def same_as_a_dry_run(study, path, targets=("all_figures", "all_benchmarks")):
    jobs = study.to_do(*targets, "--configfile", path)
    config = load(study / path)
    planned = by_rule(jobs_for(config, models_of(config, "results"), targets))
    assert dict(planned) == {rule: count for rule, count in jobs.items() if rule not in targets}


def test_the_default_studys_jobs(at):
    same_as_a_dry_run(at, "config.yaml")


def test_the_jobs_of_a_table_alone(at):
    same_as_a_dry_run(at, "config.yaml", ("all_results",))


def test_the_full_studys_jobs(at):
    same_as_a_dry_run(at, "profiles/slurm-gh200/config.yaml")


NOTHING_TRAINED = {"data": {"splits": ["held_out"], "shape": "prompts"}}
VARIANTS = [{}, {"shards": 3}, {"training": "online"}, {"domains": None}, NOTHING_TRAINED]


@pytest.mark.parametrize("change", VARIANTS, ids=str)
def test_the_tiny_studys_jobs_and_those_of_its_variants(at, change):
    config = yaml.safe_load((Path(__file__).parent / "tiny.yaml").read_text())
    config |= {key: value for key, value in change.items() if key == "shards"}
    targets = ("all_figures", "all_benchmarks")
    if "training" in change:
        config["training"]["mode"] = change["training"]
        config["teacher"] = {"name": "large", "source": {"kind": "path", "path": "small"}}
    if "domains" in change:
        del config["domains"]
    if "data" in change:
        config["data"] |= change["data"]
        for key in ("train_tokens", "validation_tokens", "held_out_tokens"):
            del config["data"][key]
        config["sweeps"] = {name: sweep for name, sweep in config["sweeps"].items() if "drafter" in sweep}
        for section in ("batch", "identity", "domains", "peers", "compile"):
            del config[section]
        targets = ("all_results",)
    tiny_study(str(at.folder))
    (at / "variant.yaml").write_text(yaml.safe_dump(config))
    same_as_a_dry_run(at, "variant.yaml", targets)
