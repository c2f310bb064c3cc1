"""Whether a commit that a file names is one of the checkout at hand, and the present one."""

import re
from pathlib import Path
from typing import Any

from selfdraft.provenance import DIRTY, PACKAGE, git, present

HASH = re.compile(r"[0-9a-f]{7,40}")


def compare(made_by: str, folders: tuple[Path, ...] | None = None) -> dict[str, Any]:
    """How `made_by` stands to the first of the `folders` that lies in a checkout which knows it.

    The folders are the working directory and this package's own, if none are given. Returns `known` (None
    without any checkout, or for what is no commit), `same`: whether it is checked out now, and `present`,
    the commit that is.
    """
    name = made_by.removesuffix(DIRTY)
    answer: dict[str, Any] = {"known": None, "same": None, "present": None}
    if not HASH.fullmatch(name):
        return answer
    for folder in folders or (Path.cwd(), PACKAGE):
        head = git(folder, "rev-parse", "--verify", "HEAD")
        if head is None:
            continue
        known = git(folder, "cat-file", "-e", f"{name}^{{commit}}") is not None
        answer = {"known": known, "same": head.startswith(name), "present": present(folder)}
        if known:
            break
    return answer


def in_words(made_by: str, answer: dict[str, Any]) -> str:
    """What `compare` found, to stand behind the commit."""
    if answer["known"] is None:
        return "no git checkout here to look it up in" if HASH.fullmatch(made_by.removesuffix(DIRTY)) else ""
    if not answer["known"]:
        return "not a commit of this checkout"
    changed = "; files differ now" if answer["present"].endswith(DIRTY) else ""
    return f"the present one{changed}" if answer["same"] else f"known here; the present one is {answer['present']}"
