"""The one exception that means: the user can mend this, and the message says how."""

import errno
from pathlib import Path


class StudyError(Exception):
    """A one-line message that names the file or key, what was found and what would be right."""


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
