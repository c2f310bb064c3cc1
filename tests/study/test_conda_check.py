"""What is told of a conda that Snakemake cannot use."""

import pytest
from snakemake.deployment.conda import MIN_CONDA_VER

from selfdraft.errors import StudyError
from selfdraft.study.conda_check import MINIMUM, check_version, installed_version


def conda_that(tmp_path, monkeypatch, *, says="", exits=0):
    """Put a conda on the PATH that answers so; nothing else is there but the shell that runs it."""
    conda = tmp_path / "conda"
    conda.write_text(f"#!/bin/sh\necho '{says}'\nexit {exits}\n")
    conda.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


def test_the_minimum_is_snakemakes_own():
    assert MINIMUM == MIN_CONDA_VER


@pytest.mark.parametrize("version", ["24.7.1", "24.7.10", "24.11.0", "26.9.0", "100.0"])
def test_a_new_conda_will_do(version):
    check_version(version)


@pytest.mark.parametrize("version", ["4.12.0", "23.11.0", "24.7.0", "24.5", "24.7"])
def test_an_old_conda_is_named_with_the_remedy(version):
    with pytest.raises(StudyError, match=rf"conda {version} is too old; `conda update .*24\.7\.1 or newer"):
        check_version(version)


def test_the_version_is_what_conda_says(tmp_path, monkeypatch):
    conda_that(tmp_path, monkeypatch, says="conda 26.9.0")
    assert installed_version() == "26.9.0"


@pytest.mark.parametrize(("says", "exits"), [("no module named conda", 1), ("no module named conda", 0), ("", 1)])
def test_a_broken_conda_is_quoted(tmp_path, monkeypatch, says, exits):
    conda_that(tmp_path, monkeypatch, says=says, exits=exits)
    with pytest.raises(StudyError, match=f"`conda --version` says: {says or 'nothing'}; repair it or install conda"):
        installed_version()


def test_a_conda_whose_python_is_gone_is_told(tmp_path, monkeypatch):
    conda_that(tmp_path, monkeypatch)
    (tmp_path / "conda").write_text("#!/nowhere/python\n")
    with pytest.raises(StudyError, match=r"`conda --version` does not start: .*; repair it or install conda"):
        installed_version()


def test_mamba_alone_is_not_conda(tmp_path, monkeypatch):
    (tmp_path / "mamba").write_text("#!/bin/sh\necho 2.1.0\n")
    (tmp_path / "mamba").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StudyError, match=r"no command `conda` on the PATH; install conda 24\.7\.1 or newer"):
        installed_version()
