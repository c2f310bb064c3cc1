"""The one error that says a file is not the one the study was pinned to."""

from pathlib import Path

from selfdraft.errors import StudyError
from selfdraft.files import sha256_of


def check_sha256(path: Path, expected: str, name: str | None = None) -> None:
    """Raise StudyError naming both sums if the file's is not `expected`; `name` is for the message."""
    found = sha256_of(path)
    if found != expected.lower():
        raise StudyError(f"{name or path}: sha256 is {found}, expected {expected}")
