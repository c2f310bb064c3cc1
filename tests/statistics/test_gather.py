"""Joining raw tables: rows kept as written, headers that agree, no half-written output."""

import pytest

from selfdraft.cli import main
from selfdraft.errors import StudyError
from selfdraft.statistics.gather import gather


def write(path, text):
    path.write_text(text)
    return path


def test_every_field_is_kept_as_it_was_written(tmp_path):
    a = write(tmp_path / "a.csv", "layer,kl_sum,note\n6,0.10000000000000001,\n")
    b = write(tmp_path / "b.csv", 'layer,kl_sum,note\r\n14,1e-05,"a, b"\r\n')
    assert gather([a, b], tmp_path / "out.csv") == 2
    expected = 'layer,kl_sum,note\n6,0.10000000000000001,\n14,1e-05,"a, b"\n'
    assert (tmp_path / "out.csv").read_text() == expected


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("layer\n1\n", "b.csv: column kl_sum is missing"),
        ("layer,kl_sum,extra\n1,2,3\n", "b.csv: column extra is not in"),
        ("kl_sum,layer\n1,2\n", "b.csv: column kl_sum stands where .*a.csv has layer"),
        ("", "b.csv: the file is empty"),
        ("layer,kl_sum\n1,2\n3\n", "b.csv: line 3: 1 fields, the header has 2"),
    ],
)
def test_a_table_that_does_not_fit_is_named_with_its_column(tmp_path, second, message):
    a = write(tmp_path / "a.csv", "layer,kl_sum\n6,1\n")
    b = write(tmp_path / "b.csv", second)
    with pytest.raises(StudyError, match=message):
        gather([a, b], tmp_path / "out.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "b.csv"]


def test_the_command_ends_with_one_line_and_status_2(tmp_path, capsys):
    assert main(["gather", "--tables", str(tmp_path / "no.csv"), "--out", str(tmp_path / "out.csv")]) == 2
    assert capsys.readouterr().err.endswith("no.csv: file not found\n")
