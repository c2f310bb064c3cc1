"""Which version of the code made a number."""

import subprocess
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def commit(folder: str | Path = PACKAGE) -> str:
    """The git commit of the checkout that holds `folder`, 12 hex digits, with `-dirty` if files differ.

    "unknown" outside a checkout or without git.
    """
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return result.stdout.strip() if result.returncode == 0 else "unknown"
