"""The environments of `--use-conda` hold what the rules need, all of it in the locked versions."""

import re
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
import yaml
from conda_double import plain, with_needed
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "envs").glob("*.yaml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CUDA = re.compile("(nvidia|cuda)-.*|triton")


def read(name):
    return yaml.safe_load((ROOT / "envs" / name).read_text())


def pins(lines):
    found = [re.fullmatch(r"([\w.-]+)==([\w.]+)", line) for line in lines]
    assert all(found), [line for line, pin in zip(lines, found, strict=True) if pin is None]
    return {plain(pin[1]): pin[2] for pin in found}


def pins_of(name):
    return pins(read(name)["dependencies"][-1]["pip"])


LOCK = pins([line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")])


def test_each_package_that_the_rules_need_is_there_in_its_locked_version_and_no_other():
    direct = [Requirement(text) for text in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["peers"]]]
    given, added = with_needed(distribution(requirement.name) for requirement in direct)
    needed = {name for name in given | added if not CUDA.fullmatch(name)}
    assert pins_of("study.yaml") == {name: LOCK[name] for name in needed}


def test_the_environment_for_gpus_adds_the_libraries_of_cuda_and_changes_nothing():
    cpu, cuda = pins_of("study.yaml"), pins_of("study-cuda.yaml")
    assert cpu.items() <= cuda.items()
    more = cuda.keys() - cpu.keys()
    assert {"triton", "nvidia-cublas", "nvidia-cudnn-cu13"} <= more
    assert [name for name in more if not CUDA.fullmatch(name)] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_conda_brings_python_and_pip_alone(file):
    environment = yaml.safe_load(file.read_text())
    python, *others = environment["dependencies"][:-1]
    assert environment["channels"] == ["conda-forge"]
    assert python == f"python {PROJECT['requires-python']},<3.14"
    assert others == ["pip"]


def test_no_pin_file_hides_a_pip_section():
    """Snakemake makes an environment from its pin file alone, so pip's packages would be missing without a word."""
    hidden = [
        pin.name
        for file in FILES
        for pin in file.parent.glob(f"{file.stem}.*.pin.txt")
        if any(isinstance(entry, dict) for entry in yaml.safe_load(file.read_text())["dependencies"])
    ]
    assert hidden == []
