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
    speaking = [sys.modules[name] for name in ("httpx", "httpx2") if name in sys.modules]
    unconnected = tuple(library.ConnectError for library in speaking)
    connection = tuple(library.HTTPError for library in speaking)
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
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, *unconnected) as error:
        refusal = error.__cause__ if isinstance(error.__cause__, errors.HfHubHTTPError) else None
        what = f"refused ({_first_line(refusal)})" if refusal else "cannot be reached"
        raise StudyError(f"{repo}: the hub {what} and {unreachable}") from None
    except errors.HfHubHTTPError as error:
        token = "; set HF_TOKEN to an access token that is valid" if error.response.status_code == 401 else ""
        raise StudyError(f"{repo}: the hub refused ({_first_line(error)}){token}") from None
    except connection as error:
        raise lost(repo, error) from None
    except OSError as error:
        if error.errno is not None:  # of the disk
            raise
        raise lost(repo, error) from None


def _first_line(error: Exception) -> str:
    """What an error says first, or its name if it says nothing."""
    return next(filter(str.strip, str(error).splitlines()), type(error).__name__)


def lost(repo: str, error: Exception) -> StudyError:
    """The error for a connection that broke, or a file that came shorter than announced."""
    return StudyError(
        f"{repo}: the connection to the hub was lost ({_first_line(error).rstrip('.')}); start again when there is a "
        "network: the files that came whole are kept"
    )


def remove_abandoned_parts(cache_dir: Path) -> None:
    """Remove what killed downloads left: parts of files that nothing was added to for an hour."""
    for part in cache_dir.glob("*/blobs/*.incomplete"):
        with suppress(FileNotFoundError):
            if time.time() - part.stat().st_mtime > 3600:
                part.unlink()
