"""Drafters that are shipped with the project: `drafters/TARGET/NAME/` at the root of the checkout, by name."""

from pathlib import Path

from selfdraft.errors import StudyError
from selfdraft.files import read_json
from selfdraft.provenance import PACKAGE

ROOT = PACKAGE.parents[1] / "drafters"
MARKER = "config.json"


def checkpoint_folder(given: str, target: str | Path, root: Path = ROOT) -> str:
    """`given` if there is such a folder, else the shipped drafter of that name for the target in the folder `target`.

    Raises StudyError, one line that lists what is shipped for this target, if it is neither.
    """
    if Path(given).exists():
        return given
    name = target_name(target)
    shipped = {path.parent.name: path.parent for path in sorted(root.glob(f"*/*/{MARKER}")) if _for(path, name)}
    if given in shipped:
        return str(shipped[given])
    there = f"those shipped for {name} are {', '.join(shipped)}" if shipped else f"none is shipped for {name}"
    raise StudyError(f"--checkpoint: {given}: no such folder, and no drafter of that name; {there}")


def target_name(folder: str | Path) -> str:
    """What a target's source.json calls it; the name of its folder where it says nothing."""
    try:
        said = read_json(Path(folder) / "source.json")
    except StudyError:
        said = None
    name = said.get("name") if isinstance(said, dict) else None
    return name if isinstance(name, str) and name else Path(folder).resolve().name


def _for(path: Path, name: str) -> bool:
    return path.parent.parent.name == name
