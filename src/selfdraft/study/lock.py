"""One run of the study in a folder at a time: locks that the kernel frees when their process dies, however it dies.

Snakemake's own lock is a file that a killed run leaves behind, and `--unlock` is then needed; the profiles turn
it off. Here the run holds `run.lock` alone, and each of its jobs shares `jobs.lock`: jobs outlive a run
whose Snakemake alone was killed, and would write where the next run writes.
"""

import errno
import fcntl
import os
import platform
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from selfdraft.errors import StudyError

VARIABLE = "SELFDRAFT_RUN"  # what a job inherits: what its run wrote into run.lock, and the folder of the locks
# What a file system answers that has no such locks: Lustre without -o flock, NFS without a lock service.
WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


def claim(folder: str | Path = ".snakemake") -> None:
    """Hold the study in the working directory until this process ends; `folder` keeps the locks.

    Raises StudyError, naming the other process, if another run or a job that outlived its own is at work here.
    On a file system without locks it says so, on standard error, and goes on.
    """
    folder = Path(folder).absolute()
    try:
        with ExitStack() as closing:
            ours = _claim(folder, closing)
            closing.pop_all()
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise StudyError(f"{error.filename or folder}: {error.strerror}; the study must be able to write") from None
        print(
            f"selfdraft: {folder}: no locks on this file system ({error.strerror}): take care that no second run "
            "is started here\n",
            end="",  # one write, which no other thread comes between
            file=sys.stderr,
        )
        return
    os.environ[VARIABLE] = f"{ours} in {folder}"


def _claim(folder: Path, closing: ExitStack) -> str:
    """Take the locks, and return what this run wrote into run.lock; its file is open while `closing` is."""
    folder.mkdir(parents=True, exist_ok=True)
    run, jobs = (os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o666) for name in ("run.lock", "jobs.lock"))
    closing.callback(os.close, run)
    try:
        locked = _lock(run)
        former = _text(run)
        if not locked:
            raise StudyError(
                f"{Path.cwd()}: another run is at work here ({former}); wait for it or end it, then start again"
            )
        if not _lock(jobs):
            alive = ", ".join(map(str, holders(folder / "jobs.lock")))
            raise StudyError(
                f"{Path.cwd()}: jobs of an earlier run ({former}) still work here"
                f"{f': process {alive}' if alive else ''}; wait for them or end them, then start again"
            )
        ours = f"process {os.getpid()} on {platform.node()} since {time.strftime('%Y-%m-%d %H:%M:%S')}"
        os.ftruncate(run, 0)
        os.pwrite(run, ours.encode(), 0)
        os.fsync(run)
    finally:
        os.close(jobs)
    return ours


def join() -> None:
    """Share, until this process ends, the lock of the run that this process is a job of; without one, do nothing.

    Raises StudyError if that run was ended and another one has taken over.
    """
    ours, _, folder = os.environ.get(VARIABLE, "").partition(" in ")
    if not folder:
        return
    try:
        jobs = os.open(Path(folder) / "jobs.lock", os.O_RDWR)
        fcntl.flock(jobs, fcntl.LOCK_SH)  # waits for the moment in which a new run looks for jobs
        run = os.open(Path(folder) / "run.lock", os.O_RDONLY)
        current = _text(run)
        os.close(run)
    except OSError:
        return  # a job does not fail for want of a lock
    if current != ours:
        raise StudyError(f"the run of this job ({ours}) was ended, and {current} took over; nothing was done")


def holders(path: Path) -> list[int]:
    """The processes of this machine that hold a lock on a file, by /proc/locks."""
    try:
        lines = [line.split() for line in Path("/proc/locks").read_text(encoding="ascii").splitlines()]
        inode = str(path.stat().st_ino)
    except OSError:
        return []
    return sorted({int(words[4]) for words in lines if "->" not in words and words[5].endswith(f":{inode}")})


def _lock(descriptor: int) -> bool:
    """Whether the lock was free; then it is held alone now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _text(descriptor: int) -> str:
    return os.pread(descriptor, 1000, 0).decode(errors="replace") or "just started"
