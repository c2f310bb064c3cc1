"""A trained draft of any kind as a folder to share: its files, their sums, and a card that says what they are."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfdraft.files import whole_folder, write_json
from selfdraft.sharing.cards import Facts, card
from selfdraft.sharing.layout import CARD, CONFIG, FILES, ONLINE, WEIGHTS, write_sums

PRIVATE = ("host",)  # of `provenance`: nobody else's concern


def share(draft: Path, facts: Facts, out_dir: str | Path) -> dict[str, str]:
    """Write the folder `out_dir` of the draft in the folder `draft`; returns the sums of its files.

    The weights are copied byte by byte; config.json loses the names of this machine and of its folders. Raises
    StudyError for an `out_dir` that holds something else.
    """
    with whole_folder(out_dir, FILES) as folder:
        shutil.copyfile(draft / WEIGHTS, folder / WEIGHTS)
        write_json(folder / CONFIG, published(facts.config))
        if facts.online:
            shutil.copyfile(draft / ONLINE, folder / ONLINE)
        (folder / CARD).write_text(card(facts), encoding="utf-8")
        return write_sums(folder)


def published(config: Mapping[str, Any]) -> dict[str, Any]:
    """A draft's config.json without the machine's name and the places of its folders."""
    found = dict(config)
    if isinstance(found.get("provenance"), Mapping):
        found["provenance"] = {key: value for key, value in found["provenance"].items() if key not in PRIVATE}
    if isinstance(found.get("initial"), str):
        found["initial"] = Path(found["initial"]).name
    return found
