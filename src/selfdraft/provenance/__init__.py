"""Which version of the code made a number."""

import subprocess
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
UNKNOWN = "unknown"
DIRTY = "-dirty"


def git(folder: str | Path, *words: str) -> str | None:
    """What git prints in `folder`, stripped; None if it fails there or is not installed."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def commit(folder: str | Path = PACKAGE) -> str:
    """The git commit of the checkout that holds `folder`, 12 hex digits, with `-dirty` if files differ.

    "unknown" outside a checkout, without git, or where git does not track anything in `folder`: a package
    that is installed somewhere inside another project's checkout is not of that project's commit.
    """
    return present(folder) if git(folder, "ls-files", "--", ".") else UNKNOWN


def present(folder: str | Path) -> str:
    """The commit that is checked out around `folder`, as `commit` writes it, whatever git tracks there."""
    return git(folder, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*") or UNKNOWN


def is_dirty(commit: str) -> bool | None:
    """Whether files differed from the commit; None where the commit is not known."""
    return commit.endswith(DIRTY) if commit not in ("", UNKNOWN) else None
