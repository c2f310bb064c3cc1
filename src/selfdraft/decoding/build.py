"""From a checkpoint folder, or the settings of another drafter, and a way of drafting to a drafter."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from selfdraft.decoding.drafter import Drafter
from selfdraft.decoding.drafting import Drafting
from selfdraft.decoding.exit_drafter import ExitDrafter
from selfdraft.decoding.lookup_drafter import LookupDrafter
from selfdraft.decoding.model_drafter import ModelDrafter
from selfdraft.drafter_kinds import KINDS
from selfdraft.errors import StudyError
from selfdraft.models.exit import load_exit
from selfdraft.models.graphs import Replays
from selfdraft.models.llama import Llama, load_target


def exit_drafter(
    folder: str | Path, target: Llama, drafting: Drafting, kept_ids: Tensor | None = None
) -> tuple[ExitDrafter, dict[str, Any]]:
    """The drafter of a checkpoint, packed, and the checkpoint's config. Call it before the target is packed.

    `kept_ids` is the draft vocabulary, for a way of drafting that has one. Raises StudyError as `load_exit`.
    """
    draft, config = load_exit(folder, target)
    if kept_ids is not None:
        draft.trim(kept_ids)
    return ExitDrafter(target, draft.pack(), drafting.stopping(), drafting.adapt), config


def other_drafter(
    name: str, settings: Mapping[str, Any], target: Llama, drafting: Drafting, kept_ids: Tensor | None = None
) -> Drafter:
    """The drafter of the config's `drafters.NAME`: `{kind: lookup, max_ngram}` or `{kind: model, folder}`.

    Raises StudyError for settings that are unknown, a model of another vocabulary, or a way of drafting
    that the kind cannot follow.
    """
    kind = settings.get("kind")
    if kind not in KINDS:
        raise StudyError(f"drafters.{name}.kind: {kind!r} is unknown; one of {', '.join(KINDS)} is right")
    known = ["kind", *("folder" if key == "source" else key for key in KINDS[kind])]
    for key in settings:
        if key not in known:
            raise StudyError(f"drafters.{name}.{key}: unknown key; known are {', '.join(known)}")
    if kind == "model":
        if "folder" not in settings:
            raise StudyError(f"drafters.{name}.folder: missing; the draft model's folder must be set")
        model = load_target(settings["folder"], target.dtype, target.device)
        model.replays = None if target.replays is None else Replays(model)
        drafter = ModelDrafter(target, model, drafting.stopping(), drafting.adapt, kept_ids)
        model.pack()
        return drafter
    if drafting.stopping() or drafting.adapt or drafting.vocabulary:
        raise StudyError(
            f"drafters.{name}: {kind} has no confidence, no step to save and no head to trim: "
            f"drafting {drafting.name} is not for it; use fixed"
        )
    return LookupDrafter(settings.get("max_ngram", 3))
