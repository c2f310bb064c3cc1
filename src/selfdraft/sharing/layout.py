"""The files of a shared draft, and their sums: what is not listed there is neither written nor fetched."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from selfdraft.errors import StudyError
from selfdraft.files import read_json, sha256_of, write_json

WEIGHTS, CONFIG, ONLINE, CARD = "draft.safetensors", "config.json", "results.json", "README.md"
SUMS = "sha256.json"  # of each of the others that is there, by name
NEEDED = (WEIGHTS, CONFIG, SUMS)
FILES = (*NEEDED, ONLINE, CARD)  # safetensors, JSON and text alone


def write_sums(folder: Path) -> dict[str, str]:
    """Write SUMS beside the files of a shared draft; returns it: 64 hex digits by file name."""
    sums = {name: sha256_of(folder / name) for name in FILES if name != SUMS and (folder / name).is_file()}
    write_json(folder / SUMS, sums)
    return sums


def checked_sums(folder: Path, shown: str) -> dict[str, str]:
    """The sums of the files in `folder`, which are theirs. Raises StudyError, beginning with `shown`, if they are not.

    So it does for a folder that lacks one of NEEDED, or whose list names other files than those of a shared draft.
    """
    if missing := [name for name in NEEDED if not (folder / name).is_file()]:
        raise StudyError(f"{shown}: holds no draft that `selfdraft export hub` wrote: no {', '.join(missing)}")
    sums = read_json(folder / SUMS)
    if not isinstance(sums, dict) or not set(NEEDED) - {SUMS} <= set(sums) <= set(FILES):
        raise StudyError(f"{shown}: {SUMS}: is no list of sums of {_named(FILES)}")
    for name, right in sums.items():
        path = folder / name
        if not path.is_file():
            raise StudyError(f"{shown}: {name}: missing, and {SUMS} names it")
        if (found := sha256_of(path)) != right:
            raise StudyError(f"{shown}: {name}: its sha256 is {found[:12]}…, {SUMS} says {str(right)[:12]}…")
    return sums


def check_config(folder: Path, shown: str) -> None:
    """Raise StudyError, beginning with `shown`, for a config.json with values of kinds that no loader expects."""
    config = read_json(folder / CONFIG)
    if not isinstance(config, dict):
        raise StudyError(f"{shown}: {CONFIG}: holds no JSON object")
    kinds: dict[str, tuple[type, str]] = {
        **{"target": (dict, "an object"), "layer": (int, "a whole number"), "features": (list, "a list of depths")},
        **{"capacity": (str, "a name"), "fc_norm": (bool, "true or false"), "norm_output": (bool, "true or false")},
        **{"bias_rank": (int, "a whole number"), "confidence": (bool, "true or false")},
    }
    for key, (kind, right) in kinds.items():
        value: Any = config.get(key, kind())
        other = isinstance(value, list) and any(type(entry) is not int for entry in value)
        if other or type(value) is not kind:
            raise StudyError(f"{shown}: {CONFIG}: {key}: found {value!r:.60}, {right} is right")


def _named(names: Iterable[str]) -> str:
    return ", ".join(name for name in names if name != SUMS)
