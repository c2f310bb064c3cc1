"""Files of a model or data repository on the hub, at one pinned commit."""

import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from selfdraft.errors import StudyError

COMMIT = re.compile(r"[0-9a-f]{40}")


def check_revision(repo: str, revision: str) -> None:
    """A branch or tag can move under a study: only a full commit hash is a revision here."""
    if not COMMIT.fullmatch(str(revision)):
        raise StudyError(
            f"source.revision: {revision!r} is not a full commit hash (40 hex digits) of {repo}; "
            "copy it from the repository's list of commits"
        )


def download_repository(
    repo: str, revision: str, kind: str, patterns: list[str], cache_dir: Path, setting: str | None = "source"
) -> Path:
    """Folder with the files of `repo` that match `patterns`, at commit `revision`.

    kind: "model" or "dataset". What is in the cache already is not downloaded again, and is enough
    when there is no network. The access token is read from the environment variable HF_TOKEN
    (else the hub library's own login). `setting` is the config's that named the repository, if one did.
    Raises StudyError, one line, for a gated, unknown or unreachable repository.
    """
    check_revision(repo, revision)
    from huggingface_hub import snapshot_download

    remove_abandoned_parts(cache_dir)
    missing = f"commit {revision[:12]} is not in {cache_dir}; run this stage once where there is a network"
    with in_one_line(repo, kind, revision, missing, setting):
        folder = snapshot_download(
            repo,
            repo_type=kind,
            revision=revision,
            allow_patterns=patterns,
            cache_dir=cache_dir,
            token=os.environ.get("HF_TOKEN"),
        )
    return Path(folder)


@contextmanager
def in_one_line(repo: str, kind: str, revision: str, unreachable: str, setting: str | None = None) -> Iterator[None]:
    """Around requests of the hub library: what it raises becomes a StudyError of one line that says what to do.

    `unreachable` is what follows from a hub that cannot be reached; `setting` the config's that named `repo`, if any.
    """
    from huggingface_hub import errors
    from huggingface_hub.utils import logging

    # The library that it speaks HTTP with has changed its name; the errors are those of either.
    connection = tuple(sys.modules[name].HTTPError for name in ("httpx", "httpx2") if name in sys.modules)
    logging.set_verbosity_error()  # its retries of a lost connection
    try:
        yield
    except errors.GatedRepoError:
        raise StudyError(
            f"{repo}: this {kind} is gated: accept its terms on its hub page, then set the environment "
            "variable HF_TOKEN to a read token of the same account"
        ) from None
    except errors.RevisionNotFoundError:
        told = f"commit {revision}; {setting}.revision must be a commit of it" if setting else f"revision {revision}"
        raise StudyError(f"{repo}: no {told}") from None
    except errors.RepositoryNotFoundError:
        check = f"{setting}.repo" if setting else "its name"
        raise StudyError(
            f"{repo}: no such {kind} on the hub, or it is private: check {check}, or set HF_TOKEN"
        ) from None
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled):
        raise StudyError(f"{repo}: the hub cannot be reached and {unreachable}") from None
    except errors.HfHubHTTPError as error:
        said = next(filter(str.strip, str(error).splitlines()), type(error).__name__)
        raise StudyError(f"{repo}: the hub refused ({said})") from None
    except connection as error:
        raise lost(repo, error) from None
    except OSError as error:
        if error.errno is not None:  # of the disk
            raise
        raise lost(repo, error) from None


def lost(repo: str, error: Exception) -> StudyError:
    """The error for a connection that broke, or a file that came shorter than announced."""
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    return StudyError(
        f"{repo}: the connection to the hub was lost ({said.rstrip('.')}); start again when there is a network: "
        "the files that came whole are kept"
    )


def remove_abandoned_parts(cache_dir: Path) -> None:
    """Remove what killed downloads left: parts of files that nothing was added to for an hour."""
    for part in cache_dir.glob("*/blobs/*.incomplete"):
        with suppress(FileNotFoundError):
            if time.time() - part.stat().st_mtime > 3600:
                part.unlink()
