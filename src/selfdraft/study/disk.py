"""Whether the study can write its results: said in one line before its jobs run, and when jobs failed for it."""

import os
import tempfile
from pathlib import Path

from selfdraft.errors import StudyError, explained


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
