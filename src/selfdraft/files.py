"""Writing files so that a reader sees either the whole file or none of it."""

import glob
import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from selfdraft.errors import StudyError


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Give a path to write instead of `path`; the file is moved there if the block succeeds, else removed.

    It lies in a folder of its own, with what a library may write beside it (safetensors writes and moves too).
    """
    path = followed(path)
    with scratch_folder(path) as folder, _named(path, folder / path.name):
        temporary = folder / path.name
        yield temporary
        temporary.chmod(0o644)
        os.replace(temporary, path)


@contextmanager
def whole_folder(path: str | Path, own: Collection[str]) -> Iterator[Path]:
    """Like `whole_file` for a folder: an older folder at `path` is replaced on success only.

    Raises StudyError, before any work, if something else stands there: a file, or a folder that holds
    anything whose name matches none of the patterns `own`, by which the stage knows its own files; that of a folder
    of its own ends in a slash.
    """
    path = followed(path)
    if path.exists() and not path.is_dir():
        raise StudyError(f"{path}: is a file; a folder is written here, name another one")
    if path.is_dir():
        for entry in sorted(path.iterdir()):
            known = (*own, ".snakemake_timestamp")
            if entry.is_dir():
                known = tuple(pattern[:-1] for pattern in own if pattern.endswith("/"))
            if not any(fnmatch(entry.name, pattern) for pattern in known):
                raise StudyError(f"{path}: holds {entry.name}, and would be replaced whole; name another folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path)
    with _named(path):
        temporary = Path(tempfile.mkdtemp(prefix=_prefix(path), dir=path.parent))
    try:
        with _named(path, temporary):
            yield temporary
            temporary.chmod(0o755)
            if path.exists():
                aside = temporary.with_name(temporary.name + ".old")
                os.replace(path, aside)
                os.replace(temporary, path)
                shutil.rmtree(aside)
            else:
                os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def followed(path: str | Path) -> Path:
    """`path`, or where it leads if it is a link: what is written replaces what the link names, not the link."""
    path = Path(path)
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def home_expanded(path: str, key: str) -> Path:
    """`path` with its `~` or `~user` in full. Raises StudyError, naming `key`, for a user who is not known here."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise StudyError(f"{key}: {path}: {path.split('/')[0]} is the home of nobody known here") from None


def files_below(folder: Path) -> list[Path]:
    """All files of a folder and of those in it, in the order of their paths; also where links lead out of it."""
    found: list[Path] = []
    root = os.path.realpath(folder)
    seen = {root}
    for place, folders, names in os.walk(folder, followlinks=True):
        found += [path for name in names if (path := Path(place, name)).is_file()]
        for name in list(folders):
            real = os.path.realpath(os.path.join(place, name))
            inside = real == root or real.startswith(root + os.sep)
            if os.path.islink(os.path.join(place, name)) and (inside or real in seen):
                folders.remove(name)
            seen.add(real)
    return sorted(found)


@contextmanager
def scratch_folder(path: str | Path) -> Iterator[Path]:
    """Give an empty folder beside `path`, which need not exist; it is removed after the block.

    One that a killed process left behind for `path` is removed first.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path)
    with _named(path):
        temporary = Path(tempfile.mkdtemp(prefix=_prefix(path), dir=path.parent))
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def saving_tensors(path: str | Path) -> Iterator[None]:
    """Around safetensors' `save_file`: what it says of the disk becomes the OSError that it was.

    Raises StudyError for anything else that it refuses to write.
    """
    try:
        yield
    except SafetensorError as error:
        said = re.search(r"os error (\d+)", str(error))
        if said is None:
            raise StudyError(f"{path}: could not be written ({error})") from None
        raise OSError(int(said[1]), os.strerror(int(said[1])), str(path)) from None


@contextmanager
def _named(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """An error of the disk names the file that was to be written: not a `temporary` one, and never none."""
    try:
        yield
    except OSError as error:
        inside = temporary is not None and error.filename is not None
        error.filename = str(error.filename).replace(str(temporary), str(path)) if inside else str(path)
        raise


def _prefix(path: Path) -> str:
    """How the names of this process's temporary files for `path` begin."""
    return f".{path.name}.{platform.node()}-{os.getpid()}-"


def remove_abandoned(path: str | Path) -> None:
    """Remove temporary files and folders for `path` that a killed process of this machine left behind."""
    path = Path(path)
    begin = f".{path.name}.{platform.node()}-"
    for entry in path.parent.glob(f"{glob.escape(begin)}*"):
        number = entry.name.removeprefix(begin).partition("-")[0]
        if number.isdigit() and int(number) != os.getpid() and not _alive(int(number)):
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON with a final newline, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """Read a JSON file. Raises StudyError naming the file if it is missing or not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StudyError(f"{path}: file not found") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: not valid JSON ({error})") from None


def sha256_of(path: str | Path) -> str:
    """sha256 of a file's bytes, 64 hex digits. Raises StudyError if it is not there."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise StudyError(f"{path}: file not found") from None


def link_or_copy(source: str | Path, path: str | Path) -> None:
    """The same file under a second name; a copy where the file system has no links."""
    try:
        os.link(source, path)
    except OSError:
        shutil.copyfile(source, path)
