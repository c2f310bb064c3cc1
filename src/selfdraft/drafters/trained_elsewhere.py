"""A draft that another training left: the folder of an exit or of a drafter, measured beside those of the study."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from selfdraft.decoding.drafting import Drafting
from selfdraft.drafters import drafter_of, kind_in
from selfdraft.errors import StudyError
from selfdraft.models.llama import Llama

if TYPE_CHECKING:
    from selfdraft.decoding.drafter import Drafter

TREES = True
FILES = ("config.json", "draft.safetensors")
SETTINGS = {
    "folder": {
        "description": "Its folder, of the folder that the study runs in, or else of the checkout.",
        "type": "string",
        "minLength": 1,
    },
}
REQUIRED = ("folder",)


def build(
    name: str, settings: Mapping[str, Any], target: Llama, drafting: Drafting, kept_ids: Tensor | None
) -> "Drafter":
    """See `drafter_of`; raises StudyError as the drafter in the folder does, and for heads (kind exits)."""
    from selfdraft.drafters.exit import exit_drafter

    folder = settings["folder"]
    kind = kind_in(folder)
    if kind is None:
        return exit_drafter(folder, target, drafting, kept_ids)[0]
    if kind == "exits":
        raise StudyError(f"drafters.{name}.folder: {folder} holds heads; one draft, an exit or an EAGLE-3, is right")
    return drafter_of(name, {"kind": kind, "folder": folder}, target, drafting, kept_ids)
