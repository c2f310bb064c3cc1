"""Lock file and package metadata agree with each other."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]


def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lines):
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {plain(requirement.name): str(requirement.specifier).removeprefix("==") for requirement in requirements}


LOCK = pins((ROOT / "requirements.lock").read_text().splitlines())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# bitsandbytes brings kernels for every GPU, and few studies need it: who does installs it, in whatever version.
UNLOCKED = ("quantized",)
GROUPS = {"dependencies": PROJECT["dependencies"]} | PROJECT["optional-dependencies"]
LOCKED = [name for name in GROUPS if name not in UNLOCKED]


@pytest.mark.parametrize("group", LOCKED)
def test_the_lock_satisfies_what_the_package_asks_for(group):
    for text in GROUPS[group]:
        requirement = Requirement(text)
        if plain(requirement.name) != PROJECT["name"]:
            assert requirement.specifier.contains(LOCK[plain(requirement.name)]), text


def test_the_lock_holds_exact_versions_and_no_addresses():
    text = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"://|@|^-", text, re.MULTILINE)
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", version) for version in LOCK.values())


def test_every_figure_has_a_caption():
    from selfdraft.figures import FIGURES

    assert [name for name in FIGURES if not (ROOT / f"workflow/report/{name}.rst").read_text().strip()] == []


def test_every_part_names_the_same_version_and_licence():
    from selfdraft import __version__

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"] == __version__
    assert citation["license"] == PROJECT["license"] == "Apache-2.0"
    assert (ROOT / "LICENSE").read_text().strip().startswith("Apache License")
