"""Folders that an option names by a pattern."""

import pytest

from selfdraft.commands.folders import expand
from selfdraft.errors import StudyError


@pytest.mark.parametrize("name", ["run [v1]", "a*b?", "plain"])
def test_a_pattern_begins_with_folders_as_they_are_called(tmp_path, monkeypatch, name):
    for draft in ("one", "two"):
        (tmp_path / name / draft).mkdir(parents=True)
        (tmp_path / name / draft / "mark").write_text("")
    (tmp_path / name / "empty").mkdir()
    both = [str(tmp_path / name / draft) for draft in ("one", "two")]
    assert expand([f"{tmp_path}/{name}/*", both[0]], "mark", "--drafts") == both
    assert expand([both[1]], "mark", "--drafts") == both[1:]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expand([f"{name}/t*", f"~/{name}/o*"], "mark", "--drafts") == [f"{name}/two", both[0]]


def test_a_pattern_that_nothing_matches_is_named(tmp_path):
    with pytest.raises(StudyError, match=r"--drafts: nowhere/\*: no folder with a mark"):
        expand(["nowhere/*"], "mark", "--drafts")
