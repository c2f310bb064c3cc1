"""Drafters: a kind is one file here, named in KINDS, that says its settings and how it is built.

Names and settings are read from the files' text, so that the config can be checked without torch.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfdraft.errors import StudyError
from selfdraft.files import read_json
from selfdraft.settings.kinds import kind_of as kind_of

if TYPE_CHECKING:
    from torch import Tensor

    from selfdraft.decoding.drafter import Drafter
    from selfdraft.decoding.drafting import Drafting
    from selfdraft.models.llama import Llama

KINDS: tuple[str, ...] = ("lookup", "model", "eagle3", "hybrid", "trained_elsewhere")
KINDS += ("exits", "adaptive_early_exit", "dynamic", "dvi")  # what leaves the target early


def kind_in(folder: str | Path) -> str | None:
    """The kind of the trained drafter in a folder; None if there is none, but an exit or nothing."""
    try:
        config = read_json(Path(folder) / "config.json")
    except StudyError:
        return None
    kind = config.get("kind") if isinstance(config, dict) else None
    return kind if kind in KINDS and kind_of(kind).trained else None


def is_exit(folder: str | Path) -> bool:
    """Whether the draft in a folder is one exit, however it was trained: what `exit_drafter` loads."""
    return kind_in(folder) in (None, "dvi")


def files_of(made: Mapping[str, Any]) -> list[Path]:
    """The files that decide what a drafter of these settings, as stages know them, drafts."""
    found = []
    if made.get("kind") in KINDS and isinstance(made.get("folder"), str):
        found = [Path(made["folder"]) / file for file in kind_of(made["kind"]).files]
    inner = made.get("drafter")
    return [*found, *files_of(inner)] if isinstance(inner, Mapping) else found


def schema() -> dict[str, Any]:
    """The JSON schema of one entry of the config's `drafters`, put together from all kinds."""
    kinds = {name: kind_of(name) for name in KINDS}
    kind = {"description": "; ".join(f"{name} = {made.about}" for name, made in kinds.items()), "enum": list(KINDS)}
    return {
        "type": "object",
        "required": ["kind"],
        "properties": {"kind": kind},
        "allOf": [
            {
                "if": {"properties": {"kind": {"const": name}}, "required": ["kind"]},
                "then": made.schema,
            }
            for name, made in kinds.items()
        ],
    }


def drafter_of(
    name: str,
    settings: Mapping[str, Any],
    target: "Llama",
    drafting: "Drafting",
    kept_ids: "Tensor | None" = None,
) -> "Drafter":
    """The drafter of the config's `drafters.NAME`; what comes from a `source` or is trained, by its `folder`.

    `kept_ids` is the draft vocabulary, for a way of drafting that has one. Raises StudyError for settings that
    are unknown or missing, or for a way of drafting that the kind cannot follow.
    """
    kind = settings.get("kind")
    if kind not in KINDS:
        raise StudyError(f"drafters.{name}.kind: {kind!r} is unknown; one of {', '.join(KINDS)} is right")
    known = kind_of(kind).known_by
    for key in settings:
        if key not in ("kind", *known):
            raise StudyError(f"drafters.{name}.{key}: unknown key; known are kind, {', '.join(known)}")
    for key, required in known.items():
        if required and key not in settings:
            raise StudyError(f"drafters.{name}.{key}: missing; it must be set")
    module = importlib.import_module(f"selfdraft.drafters.{kind}")
    built: Drafter = module.build(name, settings, target, drafting, kept_ids)
    return built
