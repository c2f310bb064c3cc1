"""A synthetic study, its results.csv and the tables beside it, made once for all figure tests."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "statistics"))

import online_runs
import side_tables
import synthetic_study

from selfdraft.cli import main
from selfdraft.statistics.bootstrap import Bootstrap
from selfdraft.statistics.tables import make_results, write_results


def write_table(study):
    tables = [study / f"{kind}.csv" for kind in ("quality", "acceptance", "speed", "steps")]
    columns, rows = make_results(*tables, 31.0, Bootstrap(resamples=199), "abc", "123")
    write_results(study / "results.csv", columns, rows)
    told = [word for kind in ("results", "acceptance", "steps") for word in (f"--{kind}", str(study / f"{kind}.csv"))]
    assert main(["methods", *told, "--settings", '{"resamples": 99}', "--out", str(study / "methods.csv")]) == 0
    return study


def write_online(study, **sizes):
    """online.csv of runs that never were."""
    folders = online_runs.write_runs(study / "learners", **sizes)
    assert main(["online", "--runs", *map(str, folders), "--out", str(study / "online.csv")]) == 0


def with_results(folder, **sizes):
    return write_table(synthetic_study.write_study(folder, **sizes))


@pytest.fixture(scope="session")
def study(once):
    """The default study's sweeps, with intervals; in its folder `domains` the same on other data sets too."""

    def make(folder):
        made = with_results(folder, conversations=20, prompts=10)
        side_tables.write_all(made)
        write_online(made)
        write_table(synthetic_study.write_domains(made, made / "domains", conversations=20, prompts=10))

    return once("figures-study", make)


@pytest.fixture(scope="session")
def seven(once):
    """All capacities at one layer."""
    sizes = {"conversations": 20, "prompts": 10, "sweeps": {"one": synthetic_study.CAPACITIES}}
    return once("figures-seven", lambda folder: with_results(folder, **sizes))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """One point, too few units for any interval."""
    grid = {"layer": [1], "T": [1.0], "capacity": ["head"], "gamma": [2], "policy": ["greedy"]}
    sizes = {"conversations": 3, "prompts": 3, "speed_prompts": 2}
    made = with_results(tmp_path_factory.mktemp("tiny"), sweeps={"one": grid}, **sizes)
    side_tables.write_all(made, tiny=True)
    write_online(made, seeds=1, looks=2, prompts=3, stream=[["chats", 2]])
    return made
