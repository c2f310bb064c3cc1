"""`hub:OWNER/NAME@REVISION` -> a checked folder on this disk; a branch or tag becomes the commit that it stands for."""

import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

from selfdraft.errors import StudyError
from selfdraft.files import read_json, whole_folder, write_json
from selfdraft.sharing.layout import FILES, SUMS, check_config, checked_sums
from selfdraft.sources.hub import COMMIT, download_repository, in_one_line

PREFIX = "hub:"
ORIGIN = "source.json"  # beside a fetched draft: its repository, commit and sums
ADDRESS = re.compile(r"hub:(?P<owner>[A-Za-z0-9][\w.-]*)/(?P<name>[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?")


class Fetched(NamedTuple):
    """`folder` holds the draft; `said` is what the user should know of how it came there, or nothing."""

    folder: Path
    said: str


def fetch_draft(address: str, cache_dir: Path) -> Fetched:
    """The draft at `address`, from the hub or from what was fetched before into `cache_dir`.

    The folder has the repository's name, and source.json in it says the commit and the files' sums. Of the repository
    only the files of a shared draft are fetched: safetensors, JSON and text. Raises StudyError, one line, for what is
    no address, a hub that cannot be reached or refuses, a repository without such a draft, and files that are not
    those of its list of sums.
    """
    found = ADDRESS.fullmatch(address)
    if found is None:
        raise StudyError(f"{address}: is no draft of a hub; {PREFIX}OWNER/NAME@COMMIT is right")
    repo, asked = f"{found['owner']}/{found['name']}", found["revision"] or "main"
    commit = asked if COMMIT.fullmatch(asked) else commit_of(repo, asked)
    shown = f"{PREFIX}{repo}@{commit}"
    resolved = "" if commit == asked else f"{PREFIX}{repo}@{asked} is commit {commit}; name it to have this draft again"
    folder = cache_dir / "drafts" / found["owner"] / commit / found["name"]
    if (folder / ORIGIN).is_file():
        try:
            if checked_sums(folder, str(folder)) != read_json(folder / ORIGIN).get("sha256"):
                raise StudyError(f"{folder}: {SUMS}: is not the one that was fetched")
        except StudyError as error:
            raise StudyError(f"{error}; remove that folder to fetch it again") from None
        return Fetched(folder, resolved)
    snapshot = download_repository(repo, commit, "model", list(FILES), cache_dir / "hub", setting=None)
    sums = checked_sums(snapshot, shown)
    check_config(snapshot, shown)
    with whole_folder(folder, (*FILES, ORIGIN)) as kept:
        for name in FILES:
            if (snapshot / name).is_file():
                shutil.copyfile(snapshot / name, kept / name)
        write_json(
            kept / ORIGIN, {"kind": "hub", "repo": repo, "revision": commit, "asked_revision": asked, "sha256": sums}
        )
    return Fetched(folder, "; ".join(filter(None, (resolved, f"{shown} was fetched into {folder}"))))


def commit_of(repo: str, revision: str) -> str:
    """The commit, 40 hex digits, that a branch or tag of a model repository stands for now.

    Raises StudyError, one line, if the hub cannot be reached or has no such revision.
    """
    from huggingface_hub import HfApi

    cannot = (
        f"does not say which commit {revision} is: name a commit ({PREFIX}{repo}@COMMIT), which is kept once fetched"
    )
    with in_one_line(repo, "model", revision, cannot):
        commit = HfApi(token=os.environ.get("HF_TOKEN")).model_info(repo, revision=revision).sha
    if commit is None or not COMMIT.fullmatch(commit):
        raise StudyError(f"{repo}: the hub does not say which commit {revision} is")
    return str(commit)
