"""Snakemake runs in a copy of the project, so that tests may change its code and configs."""

import shutil
import sys
from pathlib import Path

import pytest
import yaml
from tiny import main as tiny_study
from warm import SNAKEMAKE
from workflow.warm_jobs import WarmJobs

ROOT = Path(__file__).resolve().parents[2]
PARTS = ["Snakefile", "config.yaml", "envs", "paper", "profiles", "src", "workflow"]


class Study:
    """A copy of the project at `folder`, and Snakemake in it."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for part in PARTS:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            else:
                shutil.copy(ROOT / part, folder / part)
        (folder / "drafters").symlink_to(ROOT / "drafters")  # megabytes that no test changes

    def __truediv__(self, name):
        return self.folder / name

    def configure(self, *settings, start="config.yaml"):
        """Write config.yaml: the project's file `start` with the (path, value) settings replaced."""
        config = yaml.safe_load((ROOT / start).read_text())
        for path, value in settings:
            *above, last = path.split("/")
            place = config
            for key in above:
                place = place[int(key)] if isinstance(place, list) else place[key]
            place[int(last) if isinstance(place, list) else last] = value
        (self / "config.yaml").write_text(yaml.safe_dump(config))

    def add(self, rules):
        """Write more rules at the end of the Snakefile."""
        with open(self / "Snakefile", "a") as file:
            file.write(rules)

    def snakemake(self, *words, python=sys.executable):
        """Run it, and its jobs, by `python`; the output has standard error after standard output."""
        done = SNAKEMAKE.run(words, self.folder, python)
        done.output = done.stdout + done.stderr
        return done

    def to_do(self, *words):
        """What a dry run would do: rule -> number of jobs."""
        done = self.snakemake("--dry-run", *words)
        assert done.returncode == 0, done.output
        if "Nothing to be done" in done.output:
            return {}
        table = done.output.split("Job stats:\n")[1].split("\n\n")[0].splitlines()[2:]
        return {line.split()[0]: int(line.split()[1]) for line in table if not line.startswith("total")}


@pytest.fixture(scope="session")
def study_at():
    return Study


@pytest.fixture(scope="session")
def warm_python():
    """For studies that nobody kills: jobs that need not import PyTorch, see warm_jobs.py."""
    jobs = WarmJobs()
    yield jobs.python
    jobs.stop()


@pytest.fixture
def fresh_tiny(study_at, tmp_path):
    """The tiny study with its sources and its config, before any run."""
    study = study_at(tmp_path / "study")
    tiny_study(str(study.folder))
    study.configure(start="tests/workflow/tiny.yaml")
    return study


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A copy of the project without results."""
    return Study(tmp_path_factory.mktemp("study"))
