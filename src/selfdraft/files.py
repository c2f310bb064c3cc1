"""Writing files so that a reader sees either the whole file or none of it."""

import glob
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from selfdraft.errors import StudyError


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; move it there if the block succeeds, else remove it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path)
    handle, name = tempfile.mkstemp(prefix=_prefix(path), suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except OSError as error:  # a full disk says no name of its own
        error.filename = error.filename or str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: str | Path, own: Collection[str]) -> Iterator[Path]:
    """Like `whole_file` for a folder: an older folder at `path` is replaced on success only.

    Raises StudyError, before any work, if something else stands there: a file, or a folder that holds
    anything whose name matches none of the patterns `own`, by which the stage knows its own files.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise StudyError(f"{path}: is a file; a folder is written here, name another one")
    if path.is_dir():
        for entry in sorted(path.iterdir()):
            if entry.is_dir() or not any(fnmatch(entry.name, pattern) for pattern in (*own, ".snakemake_timestamp")):
                raise StudyError(f"{path}: holds {entry.name}, and would be replaced whole; name another folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path)
    temporary = Path(tempfile.mkdtemp(prefix=_prefix(path), dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        if path.exists():
            aside = temporary.with_name(temporary.name + ".old")
            os.replace(path, aside)
            os.replace(temporary, path)
            shutil.rmtree(aside)
        else:
            os.replace(temporary, path)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def scratch_folder(path: str | Path) -> Iterator[Path]:
    """Give an empty folder beside `path`, which need not exist; it is removed after the block.

    One that a killed process left behind for `path` is removed first.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path)
    temporary = Path(tempfile.mkdtemp(prefix=_prefix(path), dir=path.parent))
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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


def link_or_copy(source: str | Path, path: str | Path) -> None:
    """The same file under a second name; a copy where the file system has no links."""
    try:
        os.link(source, path)
    except OSError:
        shutil.copyfile(source, path)
