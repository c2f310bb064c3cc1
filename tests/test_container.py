"""The container recipes, as far as they can be checked without building them: their files, and what they install."""

import re
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[1]
RECIPES = {name: (ROOT / "container" / name).read_text() for name in ("Dockerfile", "selfdraft.def")}
NEEDED = {
    "requirements.lock",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "src",
    "container/install.sh",
    "envs/study-cuda.yaml",
}


def instructions():
    """The Dockerfile's (instruction, words), continued lines joined."""
    text = re.sub(r"^#.*\n", "", RECIPES["Dockerfile"], flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


def sections():
    """The definition's sections, by name; what stands before the first is its head."""
    head, *parts = re.split(r"^%(\w+)\n", RECIPES["selfdraft.def"], flags=re.MULTILINE)
    return {"head": head} | dict(zip(parts[::2], parts[1::2], strict=True))


def copied():
    """What each recipe takes from the project: source -> where it lies in the image's folder."""
    docker = {}
    for name, words in instructions():
        if name == "COPY":
            *sources, target = words.split()
            docker |= {
                source: (f"{target}{Path(source).name}" if target.endswith("/") else target) for source in sources
            }
    pairs = (line.split() for line in sections()["files"].splitlines() if line.strip())
    definition = {source: target.removeprefix("/opt/selfdraft/") for source, target in pairs}
    return {"Dockerfile": {a: b.removeprefix("./") for a, b in docker.items()}, "selfdraft.def": definition}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_takes_just_the_files_that_the_installation_needs(recipe):
    taken = copied()[recipe]
    assert {source: source for source in NEEDED} == taken
    assert [source for source in taken if not (ROOT / source).exists()] == []


def test_docker_sends_what_it_copies_and_no_results():
    rules = [line for line in (ROOT / "container/Dockerfile.dockerignore").read_text().splitlines() if line[:1] != "#"]
    assert rules[0] == "*"
    assert {rule.removeprefix("!") for rule in rules if rule.startswith("!")} == NEEDED
    assert not any(fnmatch(source, rule) for rule in rules[1:] if not rule.startswith("!") for source in NEEDED)


def test_both_start_from_the_same_python_which_the_package_supports():
    (image,) = re.findall(r"^From: (\S+)$", sections()["head"], re.MULTILINE)
    assert ("ARG", f"PYTHON={image}") in instructions()
    version = re.fullmatch(r"python:([\d.]+)-slim-\w+", image)[1]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert SpecifierSet(f"{project['requires-python']},<3.14").contains(version)


def test_both_install_the_same_system_packages():
    found = {
        name: set(re.findall(r"--no-install-recommends ([\w+ -]+?)\s*\\?$", text, re.M))
        for name, text in RECIPES.items()
    }
    assert found["Dockerfile"] == found["selfdraft.def"] != set()


def test_the_image_runs_as_a_user_who_is_not_root():
    users = [words for name, words in instructions() if name == "USER"]
    assert users[-1:] not in ([], ["root"], ["0"])
    assert [name for name, _ in instructions()][0:2] == ["ARG", "FROM"]
    assert {name for name, _ in instructions()} <= {"ARG", "FROM", "RUN", "WORKDIR", "COPY", "ENV", "USER", "CMD"}


@pytest.fixture
def install(tmp_path):
    """container/install.sh in a copy of its files, with a python that only writes down what it is asked for."""
    for name in ("requirements.lock", "envs/study-cuda.yaml", "container/install.sh"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    python = tmp_path / "bin/python"
    python.parent.mkdir()
    python.write_text(
        '#!/bin/sh\necho "$@" >> asked\n'
        'while [ $# -gt 0 ]; do [ "$1" != --constraint ] || cat "$2" > constraints; shift; done\n'
    )
    python.chmod(0o755)

    def run(**variables):
        path = {"PATH": f"{python.parent}:/usr/bin:/bin"}
        done = subprocess.run(["sh", "container/install.sh"], cwd=tmp_path, env=path | variables, text=True, timeout=60)
        assert done.returncode == 0
        return (tmp_path / "asked").read_text().splitlines(), (tmp_path / "constraints").read_text().splitlines()

    return run


def test_the_locked_packages_are_installed_with_the_cuda_libraries_of_the_environment(install):
    asked, constraints = install()
    pins = yaml.safe_load((ROOT / "envs/study-cuda.yaml").read_text())["dependencies"][-1]["pip"]
    assert constraints == pins
    assert "--requirement requirements.lock" in asked[0]
    assert "--extra-index-url" not in asked[0]
    assert asked[1].endswith("--no-deps --no-build-isolation .")


def test_another_index_for_torch_is_handed_to_pip(install):
    asked, _ = install(TORCH_INDEX="file:///somewhere/cpu")
    assert "--extra-index-url file:///somewhere/cpu --constraint" in asked[0]
    assert 'TORCH_INDEX="${TORCH_INDEX}" sh container/install.sh' in RECIPES["Dockerfile"]
    assert 'TORCH_INDEX="{{ TORCH_INDEX }}" sh container/install.sh' in sections()["post"]
