"""A shared folder to a repository of the hub, in one commit."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selfdraft.errors import StudyError
from selfdraft.sharing.layout import FILES, checked_sums
from selfdraft.sources.hub import in_one_line

REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def check_push(repo: str, option: str) -> None:
    """Raise StudyError, before any work, for what is no name of a repository, or without a token to write with."""
    if not REPO.fullmatch(repo):
        raise StudyError(f"{option}: {repo!r} is no repository; OWNER/NAME is right")
    if not _token():
        raise StudyError(f"{option}: no access token: set the environment variable HF_TOKEN to one that may write")


def push(folder: Path, repo: str, private: bool = False) -> str:
    """Upload the files of a shared draft to the model repository `repo`, made if it is not there; returns the commit.

    Other files of the repository stay. Raises StudyError, one line, for a hub that cannot be reached or refuses, and
    for files that are not those of the folder's list.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    sums = checked_sums(folder, str(folder))
    names = [name for name in FILES if (folder / name).is_file()]
    api = HfApi(token=_token())
    unreachable = "nothing was uploaded; --push again where there is a network"
    with in_one_line(repo, "model", "main", unreachable), _plain_protocol():
        try:
            api.create_repo(repo, repo_type="model", private=private or None, exist_ok=True)
            done = api.create_commit(
                repo,
                [CommitOperationAdd(name, folder / name) for name in names],
                repo_type="model",
                commit_message=f"A draft that selfdraft exported, sha256 {sums['draft.safetensors'][:12]}",
            )
        except RuntimeError as error:  # the library's own, around what went wrong with one file
            if error.__cause__ is None:
                raise
            raise error.__cause__ from None
        except ValueError as error:
            if isinstance(error, OSError):  # an answer of the hub, told with the others
                raise
            said = " ".join(str(error).split())
            raise StudyError(f"{repo}: the hub's answer was none that is understood ({said})") from None
    return str(done.oid)


@contextmanager
def _plain_protocol() -> Iterator[None]:
    """Uploads go file by file over HTTP, the one protocol that every hub speaks and that is tested here."""
    from huggingface_hub import constants

    before = constants.HF_HUB_DISABLE_XET
    constants.HF_HUB_DISABLE_XET = True
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_XET = before


def _token() -> str | None:
    from huggingface_hub import get_token

    return os.environ.get("HF_TOKEN") or get_token()
