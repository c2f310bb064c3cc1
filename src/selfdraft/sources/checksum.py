"""sha256 of files, and the one error that says a file is not the one the study was pinned to."""

import hashlib
from pathlib import Path

from selfdraft.errors import StudyError


def sha256_of(path: Path) -> str:
    """sha256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sha256(path: Path, expected: str, name: str | None = None) -> None:
    """Raise StudyError naming both sums if the file's is not `expected`; `name` is for the message."""
    found = sha256_of(path)
    if found != expected.lower():
        raise StudyError(f"{name or path}: sha256 is {found}, expected {expected}")
