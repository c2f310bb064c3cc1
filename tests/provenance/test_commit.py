"""Results say which commit made them."""

import subprocess

import pytest

from selfdraft.provenance import commit, is_dirty
from selfdraft.study.job_prefix import prepare_jobs


def git(folder, *words):
    identity = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path):
    git(tmp_path, "init")
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-m", "first")
    return tmp_path


def test_a_clean_checkout_gives_its_commit_even_if_tagged(checkout):
    git(checkout, "tag", "-a", "v1", "-m", "v1")
    head = subprocess.run(["git", "-C", str(checkout), "rev-parse", "HEAD"], capture_output=True, text=True)
    assert commit(checkout) == head.stdout[:12]


def test_changed_files_are_told(checkout):
    (checkout / "a").write_text("2")
    assert commit(checkout).endswith("-dirty")


def test_outside_a_checkout_the_commit_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit(tmp_path) == "unknown"


def test_without_git_the_commit_is_unknown(checkout, monkeypatch):
    monkeypatch.setenv("PATH", str(checkout))
    assert commit(checkout) == "unknown"


def test_a_jobs_shell_finds_the_package_and_knows_the_layers():
    prefix = prepare_jobs(layers=[6, 14])
    command = f'{prefix} python -c "import selfdraft, sys; print(selfdraft.__file__, sys.argv[1:])" $layers'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd="/", check=True)
    assert done.stdout.split("selfdraft/__init__.py ")[1] == "['6', '14']\n"


def test_a_package_installed_inside_another_projects_checkout_is_not_of_its_commit(checkout):
    installed = checkout / ".venv/site-packages/selfdraft"
    installed.mkdir(parents=True)
    (installed / "module.py").write_text("")
    assert commit(installed) == "unknown"
    git(checkout, "add", installed)
    assert commit(installed).endswith("-dirty")


@pytest.mark.parametrize(("of", "dirty"), [("abc", False), ("abc-dirty", True), ("unknown", None), ("", None)])
def test_a_dirty_commit_is_told_from_a_clean_and_an_unknown_one(of, dirty):
    assert is_dirty(of) is dirty
