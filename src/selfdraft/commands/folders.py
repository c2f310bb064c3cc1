"""Folders that an option may leave out when there is only one to choose from."""

import glob
import os
from pathlib import Path

from selfdraft.errors import StudyError
from selfdraft.files import home_expanded


def only_folder(given: str | None, parent: str, marker: str, option: str) -> str:
    """`given`, or else the one folder under `parent` that holds the file `marker`.

    Raises StudyError that names `option` if there is none or more than one.
    """
    if given is not None:
        if not (Path(given) / marker).is_file():
            raise StudyError(f"{option}: {given}: no {marker} in it")
        return given
    found = sorted(str(path.parent) for path in Path(parent).glob(f"*/{marker}"))
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} folders ({', '.join(found)})" if found else "no folder"
    raise StudyError(f"{option}: {what} with a {marker} under {parent}/; name one with {option}")


def matching(pattern: str, option: str) -> list[str]:
    """What a glob pattern matches, sorted; its beginning names folders as they are, brackets and stars too."""
    whole = home_expanded(pattern, option)
    there = next(place for place in (whole, *whole.parents) if place.exists() or not place.name)
    return sorted(glob.glob(os.path.join(glob.escape(str(there)), *whole.relative_to(there).parts)))


def expand(patterns: list[str], marker: str, option: str) -> list[str]:
    """All folders that the glob patterns match and that hold the file `marker`, sorted, each once."""
    found: dict[str, None] = {}
    for pattern in patterns:
        matches = [m for m in matching(pattern, option) if (Path(m) / marker).is_file()]
        if not matches:
            raise StudyError(f"{option}: {pattern}: no folder with a {marker}")
        found |= dict.fromkeys(str(Path(m)) for m in matches)
    return list(found)
