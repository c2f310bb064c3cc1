"""`selfdraft plan` from the command line: tables, JSON, a measured run's times, mistakes."""

import json
from pathlib import Path

import pytest

from selfdraft.cli import main
from selfdraft.plan.dag import Job
from selfdraft.plan.table import Plan, text
from selfdraft.study.expected import Costs

ROOT = Path(__file__).resolve().parents[2]
FULL = str(ROOT / "profiles/slurm-gh200/config.yaml")
DEFAULT = str(ROOT / "config.yaml")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_config_of_a_cluster_has_jobs_and_disk_and_no_time_that_nobody_measured(capsys):
    assert main(["plan", "--config", FULL, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["costs"] is None
    assert told["rules"]["train"]["jobs"] > 50
    assert told["total"] == {
        "jobs": sum(rule["jobs"] for rule in told["rules"].values()),
        "seconds": None,
        "gpu_seconds": None,
        "disk_bytes": pytest.approx(sum(rule["disk_bytes"] for rule in told["rules"].values())),
    }
    assert told["rules"]["capture"]["disk_bytes"] > 1e10
    assert "nothing was measured on the machine of this profile" in told["notes"][0]


def record(folder, config):
    """A results folder with what a run leaves there of its times."""
    folder.mkdir()
    durations = {"train": {"jobs": 2, "seconds": 210.0}, "target": {"jobs": 1, "seconds": 5.0}}
    machine = {"gpu": "GH200", "cores": 72}
    made = {"config": config, "machine": machine, "durations": durations}
    (folder / "provenance.json").write_text(json.dumps(made))
    return made


def test_a_measured_run_gives_the_times_and_a_file_of_them_the_same(tmp_path, capsys):
    from selfdraft.study.config import load

    record(tmp_path / "results", load(DEFAULT))
    words = ["plan", "--config", DEFAULT, "--json", "--jobs", "1", "--jobs", "8"]
    assert main([*words, "--measured", "results", "--write", "mine.json"]) == 0
    told = json.loads(capsys.readouterr().out)
    jobs = told["rules"]["train"]["jobs"]
    # the same work as in that run: its seconds but for the start of the two jobs, and the start of each
    assert told["rules"]["train"]["seconds"] == pytest.approx(5.0 * jobs + (210.0 - 2 * 5.0))
    assert told["rules"]["quality"]["seconds"] == pytest.approx(5.0 * told["rules"]["quality"]["jobs"])
    assert told["clock_seconds"]["1"] == pytest.approx(told["total"]["seconds"])
    assert told["clock_seconds"]["8"] == pytest.approx(told["total"]["seconds"] / 8)
    assert main([*words, "--machine", "mine.json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["rules"] == told["rules"]


def test_the_table_names_what_is_long_first_and_what_was_not_measured():
    costs = Costs("mine", "A run.", {}, {}, {"train": {"jobs": 3, "seconds": 90.0}}, 2)
    jobs = [Job("gather", 1, False), Job("train", 1, True), Job("train", 1, True), Job("figure_a", 1, False)]
    made = Plan(jobs, {"gather": 1.0, "train": 60.0, "figure_a": 2.0}, {"train": 3e9}, 1e9, costs)
    said = text(made, [2], "title").splitlines()
    table = said[2 : said.index("", 3)]
    assert [line.split() for line in table] == [
        ["rule", "jobs", "models", "run", "other", "disk", "time", "from"],
        ["train", "2", "60", "s", "3.0", "GB", "3", "jobs"],
        ["figure_…", "1", "2", "s", "start", "alone"],
        ["gather", "1", "1", "s", "start", "alone"],
        ["total", "4", "60", "s", "3", "s", "3.0", "GB"],
    ]
    assert any("On the clock with 2 at once" in line and "32 s" in line for line in said)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config", "nowhere.yaml"], "nowhere.yaml: file not found"),
        (["--config", DEFAULT, "--jobs", "0"], "--jobs: 0 is not ≥ 1"),
        (["--config", DEFAULT, "--write", "x.json"], "--write: goes with --measured"),
        (["--config", DEFAULT, "--measured", "nowhere"], "nowhere/provenance.json: file not found"),
        (["--config", DEFAULT, "--machine", "abacus"], "abacus: no such costs; there are epyc-2-cores"),
        (["--config", DEFAULT, "all_tables"], "all_tables"),
    ],
)
def test_mistakes_are_told_in_one_line(words, message, capsys):
    assert main(["plan", *words]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert len(said.splitlines()) == 1
