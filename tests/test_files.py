"""Files and folders appear whole or not at all, and nothing that is not ours is replaced."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import selfdraft
from selfdraft.errors import StudyError
from selfdraft.files import (
    read_json,
    remove_abandoned,
    saving_tensors,
    scratch_folder,
    whole_file,
    whole_folder,
    write_json,
)


def fail_in(writing):
    with writing as temporary:
        (temporary / "mark" if temporary.is_dir() else temporary).write_text("half")
        raise ValueError("half")


def test_a_failed_file_leaves_the_old_one_and_nothing_else(tmp_path):
    write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(ValueError, match="half"):
        fail_in(whole_file(tmp_path / "a.json"))
    assert read_json(tmp_path / "a.json") == {"old": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_replaces_its_own_kind_on_success_only(tmp_path):
    place = tmp_path / "draft"
    for content in ("one", "two"):
        with whole_folder(place, ["mark"]) as folder:
            (folder / "mark").write_text(content)
    with pytest.raises(ValueError, match="half"):
        fail_in(whole_folder(place, ["mark"]))
    assert (place / "mark").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["draft"]


def test_an_output_that_is_a_link_is_written_where_it_leads_and_stays_a_link(tmp_path):
    disk = tmp_path / "large disk"
    (disk / "draft").mkdir(parents=True)
    (disk / "table.csv").write_text("old")
    for name in ("draft", "table.csv"):
        (tmp_path / name).symlink_to(disk / name)
    with whole_folder(tmp_path / "draft", ["mark"]) as folder:
        (folder / "mark").write_text("new")
    with whole_file(tmp_path / "table.csv") as file:
        file.write_text("new")
    assert (disk / "draft/mark").read_text() == (disk / "table.csv").read_text() == "new"
    assert [(tmp_path / name).is_symlink() for name in ("draft", "table.csv")] == [True, True]
    assert sorted(path.name for path in disk.iterdir()) == ["draft", "table.csv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["draft", "large disk", "table.csv"]


def test_a_folder_of_something_else_is_never_replaced(tmp_path):
    (tmp_path / "thesis.txt").write_text("years")
    with pytest.raises(StudyError, match=r"holds thesis\.txt"), whole_folder(tmp_path, ["mark"]):
        pass
    with pytest.raises(StudyError, match="is a file"), whole_folder(tmp_path / "thesis.txt", ["mark"]):
        pass
    assert (tmp_path / "thesis.txt").read_text() == "years"


def test_what_a_killed_process_left_is_removed_and_a_living_ones_is_not(tmp_path):
    left = "import sys, os; sys.path.insert(0, sys.argv[1]); from selfdraft.files import *; "
    left += (
        "writing = whole_folder(sys.argv[2], ['mark']); (writing.__enter__() / 'mark').write_text('half'); os._exit(9)"
    )
    source = str(Path(selfdraft.__file__).parents[1])
    subprocess.run([sys.executable, "-c", left, source, str(tmp_path / "draft")])
    assert len(list(tmp_path.iterdir())) == 1
    with whole_folder(tmp_path / "draft", ["mark"]) as folder:
        assert list(tmp_path.iterdir()) == [folder]
        remove_abandoned(tmp_path / "draft")
        assert folder.is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["draft"]


def overfill(writing):
    with writing as temporary:
        (temporary / "mark" if temporary.is_dir() else temporary).write_text("half")
        with open("/dev/full", "w") as full:
            full.write("more")


def look_for_a_part(writing):
    with writing as temporary:
        (temporary / "absent" / "part").read_text()


@pytest.mark.parametrize("writing", [whole_file, lambda path: whole_folder(path, ["*"])], ids=["file", "folder"])
def test_an_error_of_the_disk_names_the_file_that_was_to_be_written(tmp_path, writing):
    with pytest.raises(OSError, match="No space left on device") as caught:
        overfill(writing(tmp_path / "a"))
    assert caught.value.filename == str(tmp_path / "a")
    with pytest.raises(OSError, match="No such file") as caught:
        look_for_a_part(writing(tmp_path / "a"))
    assert caught.value.filename == str(tmp_path / "a" / "absent" / "part")
    assert list(tmp_path.iterdir()) == []


def test_what_safetensors_says_of_the_disk_is_an_error_of_the_disk(tmp_path):
    path = tmp_path / "absent" / "a"
    with pytest.raises(FileNotFoundError) as caught, saving_tensors(path):
        save_file({"a": np.zeros(3)}, path)
    assert caught.value.filename == str(path)


def test_what_is_written_beside_a_file_goes_with_it(tmp_path):
    with whole_file(tmp_path / "a.csv") as temporary:
        assert temporary.name == "a.csv"
        temporary.with_name(".tmp1").write_text("a library's own")
        temporary.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    assert (tmp_path / "a.csv").stat().st_mode & 0o777 == 0o644


def test_a_scratch_folder_is_gone_afterwards_also_that_of_a_killed_process(tmp_path):
    left = "import sys, os; from selfdraft.files import *; "
    left += "scratch = scratch_folder(sys.argv[1]); (scratch.__enter__() / 'part').write_text('half'); os._exit(9)"
    environment = os.environ | {"PYTHONPATH": str(Path(selfdraft.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", left, str(tmp_path / "pass")], env=environment)
    assert len(list(tmp_path.iterdir())) == 1
    with scratch_folder(tmp_path / "pass") as folder:
        assert list(tmp_path.iterdir()) == [folder]
        assert list(folder.iterdir()) == []
    assert list(tmp_path.iterdir()) == []
