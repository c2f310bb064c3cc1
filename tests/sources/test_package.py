import hashlib
import shutil
import zipfile
from pathlib import Path

import pytest

from selfdraft.errors import StudyError
from selfdraft.sources import package
from selfdraft.sources.fetch import Fetched, fetch

CONTENT = b"the one file"
SUM = hashlib.sha256(CONTENT).hexdigest()
SOURCE = {"kind": "package", "package": "acme-model", "version": "1.0", "member": "acme/model.gguf", "sha256": SUM}


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stands for pip: writes a wheel with one member; the list says what was asked for."""
    asked: list[str] = []

    def download(name: str, version: str, folder: Path) -> Path:
        asked.append(f"{name}=={version}")
        wheel = folder / "acme_model-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("acme/model.gguf", CONTENT)
            archive.writestr("acme_model-1.0.dist-info/METADATA", "")
        return wheel

    monkeypatch.setattr(package, "download_wheel", download)
    return asked


def get(cache: Path, **changes: str) -> Path:
    return fetch({**SOURCE, **changes}, cache, "model", []).path


def test_the_member_is_extracted_and_kept(downloads, tmp_path):
    path = get(tmp_path)
    assert path.read_bytes() == CONTENT
    assert get(tmp_path) == path
    assert downloads == ["acme-model==1.0"]


def test_a_spoilt_file_in_the_cache_is_fetched_again(downloads, tmp_path):
    get(tmp_path).write_bytes(CONTENT[:5])
    assert get(tmp_path).read_bytes() == CONTENT
    assert len(downloads) == 2


def test_a_wrong_sum_names_both_and_keeps_nothing(downloads, tmp_path):
    wrong = "0" * 64
    with pytest.raises(StudyError, match=f"acme/model.gguf: sha256 is {SUM}, expected {wrong}"):
        get(tmp_path, sha256=wrong)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_missing_member_says_what_there_is(downloads, tmp_path):
    with pytest.raises(StudyError, match=r"acme-model==1\.0 has no acme/other\.gguf; it has acme/model\.gguf"):
        get(tmp_path, member="acme/other.gguf")


@pytest.mark.parametrize(
    ("key", "value"),
    [("package", "-r/etc/passwd"), ("version", "1.0 --index-url=x"), ("sha256", "abc"), ("member", "../up")],
)
def test_settings_that_are_no_names_never_reach_pip(downloads, tmp_path, key, value):
    with pytest.raises(StudyError, match=f"source.{key}"):
        get(tmp_path, **{key: value})
    assert downloads == []


def test_no_index_is_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(
        StudyError, match=r"acme-model==1\.0: pip download failed \(.*package index must be reachable"
    ) as caught:
        get(tmp_path / "cache")
    assert "\n" not in str(caught.value)


def test_paths_are_checked_against_their_sums(tmp_path):
    file = tmp_path / "a.json"
    file.write_bytes(CONTENT)
    assert fetch({"kind": "path", "path": str(file), "sha256": SUM}, tmp_path, "dataset", []).path == file
    for source, said in (
        ({"path": str(file), "sha256": "1" * 64}, f"a.json: sha256 is {SUM}, expected 1111"),
        ({"path": str(tmp_path), "sha256": {"a.json": "1" * 64}}, f"a.json: sha256 is {SUM}, expected 1111"),
        ({"path": str(tmp_path), "sha256": {"b.json": SUM}}, "b.json: file not found"),
        ({"path": str(tmp_path / "c")}, "c: no such file or folder"),
    ):
        with pytest.raises(StudyError, match=said):
            fetch({"kind": "path", **source}, tmp_path, "dataset", [])


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"kind": "url"}, 'source.kind: "url" is not known; known are package, hub, path'),
        ({"kind": "path"}, "source.path: missing"),
        ({"kind": "path", "path": "x", "pth": "y"}, "source.pth: unknown key"),
    ],
)
def test_a_wrong_source_names_its_key(tmp_path, source, said):
    with pytest.raises(StudyError, match=said):
        fetch(source, tmp_path, "model", [])


NEWS = {"acme/news/a/1.txt": b"one", "acme/news/a/2.txt": b"two", "acme/news/b/1.txt": b"three"}
OTHERS = {"acme/news/index.txt": b"no", "acme/news/a/deep/3.txt": b"no", "acme/news/a/1.md": b"no"}


@pytest.fixture
def news(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[dict[str, str], list[str]]:
    """A package of many texts: its source, and the list of what pip was asked for."""
    asked: list[str] = []
    whole = tmp_path / "whole.whl"
    with zipfile.ZipFile(whole, "w") as archive:
        for name, content in {**NEWS, **OTHERS, "acme/news/../../x.txt": b"out"}.items():
            archive.writestr(name, content)

    def download(name: str, version: str, folder: Path) -> Path:
        asked.append(f"{name}=={version}")
        return Path(shutil.copyfile(whole, folder / "acme_news-1.0-py3-none-any.whl"))

    monkeypatch.setattr(package, "download_wheel", download)
    total = hashlib.sha256(whole.read_bytes()).hexdigest()
    source = {"kind": "package", "package": "acme-news", "version": "1.0", "sha256": total}
    return {**source, "member": "acme/news/*/*.txt"}, asked


def contents(fetched: Fetched) -> dict[str, bytes]:
    return {path.relative_to(fetched.path).as_posix(): path.read_bytes() for path in fetched.files}


def test_a_pattern_of_members_brings_all_that_match_and_nothing_else(news, tmp_path):
    source, asked = news
    fetched = fetch(source, tmp_path, "dataset", [])
    assert contents(fetched) == {"a/1.txt": b"one", "a/2.txt": b"two", "b/1.txt": b"three"}
    assert list(contents(fetch({**source, "member": "acme/news/a/[2-9].t?t"}, tmp_path, "dataset", []))) == ["2.txt"]
    assert asked == ["acme-news==1.0"]
    assert fetched.origin == source


def test_a_spoilt_or_lost_member_is_extracted_again_from_the_kept_wheel(news, tmp_path):
    source, asked = news
    first, second, third = fetch(source, tmp_path, "dataset", []).files
    first.write_bytes(b"eno")
    second.write_bytes(b"")
    third.unlink()
    assert list(contents(fetch(source, tmp_path, "dataset", [])).values()) == [b"one", b"two", b"three"]
    assert asked == ["acme-news==1.0"]


def test_a_spoilt_wheel_in_the_cache_is_fetched_again(news, tmp_path):
    source, asked = news
    fetch(source, tmp_path, "dataset", [])
    wheel = tmp_path / "packages" / "acme-news-1.0" / "acme-news-1.0.whl"
    wheel.write_bytes(wheel.read_bytes()[:-5])
    assert len(fetch(source, tmp_path, "dataset", []).files) == 3
    assert asked == ["acme-news==1.0"] * 2


def test_the_sum_of_a_pattern_is_the_wheels_and_a_wrong_one_keeps_nothing(news, tmp_path):
    source, _ = news
    with pytest.raises(
        StudyError, match=rf"the wheel \(of a pattern .*\): sha256 is {source['sha256']}, expected {SUM}"
    ):
        fetch({**source, "sha256": SUM}, tmp_path / "cache", "dataset", [])
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


@pytest.mark.parametrize("member", ["acme/*.gguf", "*", "../*/*.txt", "/acme/*/*/*.txt"])
def test_a_pattern_that_nothing_matches_or_that_leads_out_is_refused(news, tmp_path, member):
    with pytest.raises(StudyError, match=r"source\.member: (acme-news==1\.0 has no|.* is not a path inside a wheel)"):
        fetch({**news[0], "member": member}, tmp_path, "dataset", [])


def test_no_member_ever_leads_out_of_the_cache(news, tmp_path):
    with pytest.raises(StudyError, match="has no"):
        fetch({**news[0], "member": "acme/news/*/*/x.txt"}, tmp_path, "dataset", [])
    assert not list(tmp_path.rglob("x.txt"))
