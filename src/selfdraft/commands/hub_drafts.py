"""Options that name a draft may name one of a hub: it is fetched, and the option then names its folder."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

CACHE = Path("results/cache")
PREFIX = "hub:"
OPTIONS = ("checkpoint", "checkpoints", "drafter", "drafters", "initial")


def fetch_named(args: argparse.Namespace) -> None:
    """Put folders in place of all `hub:…` among the OPTIONS, in place. Raises StudyError as `fetch_draft`.

    What came from the hub, and the commit of a branch or tag, is said on the standard error.
    """
    for option in OPTIONS:
        if (value := getattr(args, option, None)) is not None:
            setattr(args, option, _fetched(value))


def _fetched(value: Any) -> Any:
    """The value of an option: a text, a list of them, or the JSON of drafters with their folders."""
    if isinstance(value, list):
        return [_fetched(entry) for entry in value]
    if not isinstance(value, str):
        return value
    if value.startswith(PREFIX):
        from selfdraft.sharing.fetching import fetch_draft

        folder, said = fetch_draft(value, CACHE)
        if said:
            print(said, file=sys.stderr)
        return str(folder)
    if PREFIX in value and value.lstrip().startswith("{"):
        try:
            return json.dumps(_with_folders(json.loads(value)))
        except json.JSONDecodeError:  # told where the option is read
            return value
    return value


def _with_folders(drafters: Any) -> Any:
    """A JSON value in which each object's `folder` is one of this disk."""
    if not isinstance(drafters, dict):
        return drafters
    return {
        key: _fetched(value) if key == "folder" and isinstance(value, str) else _with_folders(value)
        for key, value in drafters.items()
    }
