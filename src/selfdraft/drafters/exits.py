"""Several exits of the target, trained together; alone it drafts as adaptive_early_exit does at its usual settings."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from selfdraft.decoding.drafting import Drafting
from selfdraft.errors import StudyError
from selfdraft.models.llama import Llama

if TYPE_CHECKING:
    from selfdraft.drafters.adaptive_early_exit import AdaptiveDrafter

TRAINED = True
RULE = "train_exits"
FILES = ("config.json", "aux_heads.safetensors", "calibration.json")
SETTINGS = {
    "heads": {
        "description": "Layers that there is a head after, counted from 0; or num_heads in its place.",
        "type": "array",
        "minItems": 1,
        "items": {"type": "integer", "minimum": 0},
    },
    "num_heads": {
        "description": "In place of heads: so many, evenly spread (3: at a quarter, a half and three quarters).",
        "type": "integer",
        "minimum": 1,
    },
    "capacity": {"description": "What is trained of each head, as of any exit.", "$ref": "#/$defs/capacity"},
    "T": {"description": "Temperature of the KL.", "type": "number", "exclusiveMinimum": 0, "default": 1.0},
    "calibration": {
        "description": "What is promised of them beside their agreement, as options of `selfdraft calibrate`.",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "risk": {
                "description": "disagreement: exits that the target says otherwise; no_harm: also conversations that "
                "verified drafts decode slower than the target alone (disagreement).",
                "enum": ["disagreement", "no_harm"],
            },
            "gamma": {
                "description": "For no_harm, tokens that are drafted at most (4).",
                "type": "integer",
                "minimum": 1,
            },
            "costs": {
                "description": "For no_harm, what a cycle costs: by the bytes of weights that its parts read, or by "
                "the clock, timed while calibrating (bytes).",
                "enum": ["bytes", "clock"],
            },
            "epsilon": {
                "description": "Chance that a threshold breaks its promise (0.05).",
                "type": "number",
                "exclusiveMinimum": 0,
                "exclusiveMaximum": 1,
            },
        },
    },
    "training": {
        "description": "How the heads are trained: keys of the section training, each with its default there; mode "
        "is online where num_heads stands, for layers that nobody has listed are not captured before.",
        "$ref": "#/$defs/training",
        "default": {},
    },
}
REQUIRED = ("capacity",)


def folder_of_heads(where: str, made: Any) -> str:
    """The folder of the heads that another drafter asks, of that entry's settings.

    Raises StudyError naming `where` for what is none of this kind.
    """
    if not isinstance(made, Mapping) or made.get("kind") != "exits" or "folder" not in made:
        raise StudyError(f"{where}.drafter: found {made!r}, the kind exits and the folder of its heads are right")
    return str(made["folder"])


def build(
    name: str, settings: Mapping[str, Any], target: Llama, drafting: Drafting, kept_ids: Tensor | None
) -> "AdaptiveDrafter":
    """See `drafter_of`; raises StudyError as `adaptive_early_exit.build`."""
    from selfdraft.drafters.adaptive_early_exit import build as build_adaptive

    return build_adaptive(name, {"drafter": settings}, target, drafting, kept_ids)
