import gzip
import json
import os

import pyarrow.parquet
import pytest

from selfdraft.errors import StudyError
from selfdraft.sources import data_files
from selfdraft.sources.data_files import read_source

ROWS = [{"id": f"r{n}", "text": f"Text number {n}."} for n in range(6)]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def read(path, max_records=None, **source):
    reading = read_source({"kind": "path", "path": str(path), **source}, path.parent / "cache", max_records)
    return list(reading.records), reading


def test_all_data_files_of_a_folder_are_read_in_order_whatever_their_kinds(tmp_path):
    folder = tmp_path / "set"
    (folder / "more").mkdir(parents=True)
    (folder / "a.jsonl").write_text(lines(ROWS[:2]))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS[2:4]), folder / "b.parquet")
    (folder / "more" / "c.json.gz").write_bytes(gzip.compress(json.dumps(ROWS[4:]).encode()))
    (folder / "LICENSE.txt").write_text("Do not read this as data.")
    (folder / "README.md").write_text("Nor this.")
    records, reading = read(folder)
    assert records == ROWS
    assert list(reading.origin["sha256"]) == ["a.jsonl", "b.parquet", "more/c.json.gz"]
    assert read(folder, files=["b.parquet"])[0] == ROWS[2:4]
    with pytest.raises(StudyError, match=r"d\.json: file not found; source\.files names it"):
        read(folder, files=["a.jsonl", "d.json"])


def test_a_folder_of_plain_texts_is_one_document_a_file_named_by_its_place(tmp_path):
    for name, text in {"art/1.txt": "One.", "art/2.txt": "Two.", "sport/1.txt": "Three."}.items():
        (tmp_path / "news" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "news" / name).write_text(text)
    (tmp_path / "news" / "art" / "3.txt.gz").write_bytes(gzip.compress(b"Four."))
    records, _ = read(tmp_path / "news")
    assert [(row["id"], row["text"]) for row in records] == [
        ("art/1", "One."),
        ("art/2", "Two."),
        ("art/3", "Four."),
        ("sport/1", "Three."),
    ]
    assert read(tmp_path / "news" / "art" / "1.txt")[0] == [{"id": "1", "text": "One."}]


def test_what_a_linked_folder_holds_is_read_once_and_a_circle_ends(tmp_path):
    disk = tmp_path / "large disk"
    disk.mkdir()
    (disk / "a.jsonl").write_text(lines(ROWS[:3]))
    folder = tmp_path / "set"
    (folder / "more").mkdir(parents=True)
    (folder / "more" / "b.jsonl").write_text(lines(ROWS[3:]))
    (folder / "far").symlink_to(disk)
    (folder / "again").symlink_to(folder / "more")
    (disk / "back").symlink_to(folder)
    records, reading = read(folder)
    assert records == ROWS
    assert list(reading.origin["sha256"]) == ["far/a.jsonl", "more/b.jsonl"]


def test_a_home_of_nobody_is_one_line(tmp_path):
    with pytest.raises(StudyError, match=r"source\.path: ~nobody-at-all/x: ~nobody-at-all is the home of nobody known"):
        read_source({"kind": "path", "path": "~nobody-at-all/x"}, tmp_path)


def test_a_folder_without_data_is_an_error(tmp_path):
    (tmp_path / "a.csv").write_text("a,b")
    with pytest.raises(StudyError, match=r"no \.json, \.jsonl, \.parquet or \.txt file"):
        read(tmp_path)


def test_no_file_is_touched_behind_the_last_record_wanted(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.jsonl").write_text(lines(ROWS))
    (tmp_path / "set" / "b.jsonl").write_text("not JSON at all")
    assert read(tmp_path / "set", max_records=6)[0] == ROWS
    with pytest.raises(StudyError, match=r"b\.jsonl: not JSON"):
        read(tmp_path / "set", max_records=7)


def test_losses_name_their_file_if_there_are_several(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.jsonl").write_text(lines(ROWS))
    (tmp_path / "set" / "b.jsonl").write_text(lines(ROWS) + "{broken\n")
    (tmp_path / "set" / "c.jsonl.gz").write_bytes(gzip.compress(lines(ROWS).encode())[:-4])
    records, reading = read(tmp_path / "set")
    assert records == ROWS * 3
    assert (reading.losses.characters, reading.losses.reason) == (
        7,
        "b.jsonl: 1 broken lines; c.jsonl.gz: the packed file breaks off",
    )


def test_a_named_split_of_a_folder_is_read_and_only_so_much_of_it(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text(lines(ROWS))
    (tmp_path / "set" / "test.jsonl").write_text(lines(ROWS[::-1]))
    assert read(tmp_path / "set", split="test")[0] == ROWS[::-1]
    assert read(tmp_path / "set", split="test", max_records=2)[0] == ROWS[:3:-1]
    assert read(tmp_path / "set", split="test", files=["train.jsonl"])[0] == ROWS


@pytest.mark.parametrize("files", [{}, {"files": ["train.jsonl"]}])
def test_a_split_is_read_anew_after_an_edit_that_size_and_time_do_not_tell(tmp_path, files):
    (tmp_path / "set").mkdir()
    file = tmp_path / "set" / "train.jsonl"
    file.write_text(lines(ROWS))
    assert read(tmp_path / "set", split="train", **files)[0] == ROWS
    times = file.stat()
    file.write_text(lines(ROWS[::-1]))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert read(tmp_path / "set", split="train", **files)[0] == ROWS[::-1]


def test_the_beginning_of_a_large_hub_set_is_streamed_and_not_downloaded(tmp_path, monkeypatch):
    asked = {}

    def rows(repo, **options):
        asked.update(options, repo=repo)
        yield from ROWS

    monkeypatch.setattr(data_files, "hub_rows", rows)
    source = {"kind": "hub", "repo": "acme/web", "revision": COMMIT, "config": "sample-10BT"}
    reading = read_source(source, tmp_path, max_records=4)
    assert list(reading.records) == ROWS[:4]
    assert reading.origin == source
    assert (asked["repo"], asked["name"], asked["split"]) == ("acme/web", "sample-10BT", "train")
    assert (asked["revision"], asked["streaming"]) == (COMMIT, True)
    with pytest.raises(StudyError, match=r'source\.revision: "main" is not a full commit hash'):
        read_source({**source, "revision": "main"}, tmp_path, max_records=4)
    with pytest.raises(StudyError, match=r"source\.revision: missing"):
        read_source({"kind": "hub", "repo": "acme/web", "split": "train"}, tmp_path, max_records=4)
