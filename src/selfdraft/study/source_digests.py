"""What a source on this disk holds, as one small file that stands for it in a rule's inputs.

Snakemake looks at the time of a folder, which an edited file inside does not change, and takes braces in a path
for wildcards. So rules have a file below .snakemake as input: it is written anew when a name, a size or the
content of what the source holds is another one. Contents are hashed once for a path, size and times.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from selfdraft.errors import StudyError
from selfdraft.files import files_below, home_expanded, sha256_of, whole_file

STAMPS = Path(".snakemake/sources")


def files_on_disk(source: Mapping[str, Any], stamps: Path = STAMPS) -> list[str]:
    """The file that stands for what a source of kind `path` holds, if that is there; else nothing.

    A missing one is left to the stage, which says what is missing.
    """
    if source["kind"] != "path":
        return []
    place = home_expanded(source["path"], "source.path")
    if not place.exists():
        return []
    name = hashlib.sha256(os.fsencode(place.absolute())).hexdigest()[:16]
    path, kept = stamps / f"{name}.txt", stamps / f"{name}.json"
    known = _known(kept)
    current, lines = {}, hashlib.sha256()
    files = _files(place, source.get("files"))
    for file in files:
        found = file.stat()
        inside = os.fsencode(file.relative_to(place)).hex()
        state = [found.st_size, found.st_mtime_ns, found.st_ctime_ns]  # a change's time cannot be set back
        digest = known[inside][3] if known.get(inside, [])[:3] == state else sha256_of(file)
        current[inside] = [*state, digest]
        lines.update(f"{inside} {found.st_size} {digest}\n".encode())
    text = f"{lines.hexdigest()}  {len(files)} files\n"
    try:
        if current != known:
            with whole_file(kept) as temporary:
                temporary.write_text(json.dumps(current), encoding="utf-8")
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            with whole_file(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StudyError(f"{error.filename}: {error.strerror}; the study must be able to write there") from None
    return [str(path)]


def _files(place: Path, names: list[str] | None) -> list[Path]:
    """The file, or those of a folder that a source may read: the named ones, else all that are not hidden."""
    if place.is_file():
        return [place]
    if names:
        return [place / name for name in sorted(names) if (place / name).is_file()]
    return [file for file in files_below(place) if not any(p.startswith(".") for p in file.relative_to(place).parts)]


def _known(kept: Path) -> dict[str, list[Any]]:
    """Sizes, times and digests of the last look; nothing where it cannot be read."""
    with suppress(OSError, ValueError):
        value = json.loads(kept.read_text(encoding="utf-8"))
        return value if isinstance(value, dict) else {}
    return {}
