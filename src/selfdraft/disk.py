"""Whether the study can write its results: said in one line before its jobs run, and when jobs failed for it."""

import errno
import os
import tempfile
from pathlib import Path

from selfdraft.errors import StudyError

# What to do about a file that could not be written.
REMEDIES = {
    errno.ENOSPC: "make room there and start again; what is finished is kept",
    errno.EDQUOT: "make room within the quota and start again; what is finished is kept",
    errno.EROFS: "make it writable, or work in a folder that is",
    errno.EACCES: "give yourself the right to write there, or work in a folder where you have it",
    errno.EPERM: "give yourself the right to write there, or work in a folder where you have it",
}


def explained(error: OSError, place: str | Path) -> str:
    """One line: the file, else `place`; what the system said; the remedy, where there is one."""
    line = f"{error.filename or place}: {error.strerror or error}"
    return f"{line}; {REMEDIES[error.errno]}" if error.errno in REMEDIES else line


def check_writable(*folders: str | Path) -> None:
    """Write and remove a small file in each folder, or in the one above that is there; StudyError if that fails."""
    for name in folders:
        folder = Path(name).absolute()
        existing = next(place for place in (folder, *folder.parents) if place.is_dir())
        try:
            with tempfile.NamedTemporaryFile(dir=existing) as file:
                file.write(b"." * 8192)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            error.filename = str(name)
            raise StudyError(explained(error, name)) from None
