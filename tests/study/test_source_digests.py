"""What a source holds decides, not when its folder was changed."""

import os

from selfdraft.study.source_digests import files_on_disk


def stamp_of(source, stamps):
    (path,) = files_on_disk(source, stamps)
    with open(path, encoding="utf-8") as file:
        return file.read(), os.stat(path).st_mtime_ns


def test_an_edit_inside_a_folder_is_seen_and_a_touched_or_hidden_file_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    stamps, folder = tmp_path / "stamps", tmp_path / "my {texts}"
    (folder / "more").mkdir(parents=True)
    (folder / "more" / "a.txt").write_text("One")
    source = {"kind": "path", "path": "~/my {texts}"}
    first = stamp_of(source, stamps)
    assert not set("{}") & set(files_on_disk(source, stamps)[0].removeprefix(str(stamps)))
    os.utime(folder / "more" / "a.txt", (1, 1))
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / ".ipynb_checkpoints" / "a.txt").write_text("old")
    assert stamp_of(source, stamps) == first
    (folder / "more" / "a.txt").write_text("Two")
    os.utime(folder / "more" / "a.txt", (1, 1))  # of the same size and time as before
    os.utime(folder, (1, 1))
    second = stamp_of(source, stamps)
    assert second[0] != first[0]
    (folder / "more" / "a.txt").rename(folder / "more" / "b.txt")
    assert stamp_of(source, stamps)[0] not in (first[0], second[0])


def test_an_edit_behind_a_link_is_seen(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a.txt").write_text("One")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "far").symlink_to(tmp_path / "disk")
    source = {"kind": "path", "path": str(tmp_path / "texts")}
    first = stamp_of(source, tmp_path / "stamps")
    (tmp_path / "disk" / "a.txt").write_text("Two")
    assert stamp_of(source, tmp_path / "stamps")[0] != first[0]


def test_contents_are_hashed_once_and_only_named_files_count(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("One")
    (tmp_path / "b.txt").write_text("Two")
    source = {"kind": "path", "path": str(tmp_path), "files": ["a.txt"]}
    first = stamp_of(source, tmp_path / ".stamps")
    (tmp_path / "b.txt").write_text("Three")

    def never(path):
        raise AssertionError(path)

    monkeypatch.setattr("selfdraft.study.source_digests.sha256_of", never)
    assert stamp_of(source, tmp_path / ".stamps") == first


def test_only_a_path_that_is_there_is_an_input_of_the_workflow(tmp_path):
    assert files_on_disk({"kind": "path", "path": str(tmp_path / "gone")}, tmp_path) == []
    assert files_on_disk({"kind": "package", "package": "p"}, tmp_path) == []
