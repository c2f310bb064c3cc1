"""What is said of a disk that cannot be written."""

import errno
import os

import pytest

from selfdraft.errors import StudyError
from selfdraft.study.disk import check_writable, explained


def test_a_folder_that_can_be_written_is_left_as_it_was(tmp_path):
    check_writable(tmp_path, tmp_path / "not" / "there")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_what_can_be_mended_is_said_with_the_remedy(number):
    line = explained(OSError(number, os.strerror(number), "results/a.csv"), "output")
    assert line.startswith(f"results/a.csv: {os.strerror(number)}; ")


def test_a_folder_where_nothing_can_be_written_is_named():
    with pytest.raises(StudyError, match=r"^/proc/self: "):
        check_writable("/proc/self")


def test_an_error_without_a_name_or_a_remedy():
    assert explained(OSError(errno.ENOTDIR, "Not a directory"), "output") == "output: Not a directory"
