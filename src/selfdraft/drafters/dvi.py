"""An exit that learns from its own verifications while it serves a stream of prompts, and drafts as it ended."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from selfdraft.decoding.drafting import Drafting
from selfdraft.drafters.exit import ExitDrafter, exit_drafter
from selfdraft.models.llama import Llama

TRAINED = True
RULE = "train_dvi"
SETTINGS = {
    "exit_layer": {
        "description": "It leaves the target after this layer, counted from 0; or initial in its place.",
        "type": "integer",
        "minimum": 0,
    },
    "initial": {
        "description": "In place of exit_layer: the name of a trained exit of a sweep that it starts from.",
        "type": "string",
    },
    "capacity": {
        "description": "What learns beside the exit norm (low_rank_head; lora, and only it, for share split).",
        "enum": ["norm", "translator", "low_rank_head", "head", "lora"],
    },
    "rank": {"description": "Of low_rank_head (64) or lora (16).", "type": "integer", "minimum": 1},
    "beside": {
        "description": "Names of trained exits of sweeps that are measured on the same held-out prompts, to compare.",
        "type": "array",
        "items": {"type": "string"},
    },
    "then": {
        "description": "A set of domains with prompts: the stream goes on with them, as many at most as before.",
        "type": "string",
    },
    "objective": {
        "description": "composite (the published mixture), kl, ce, policy_gradient, tv (the exact gradient of "
        "acceptance); none: it stays as it is (composite).",
        "enum": ["composite", "kl", "ce", "policy_gradient", "tv", "none"],
    },
    "share": {
        "description": "What of the draft's path learns. head: above the exit's depth; split: LoRA on the draft's own "
        "copy of the layers up to it (head).",
        "enum": ["head", "split"],
    },
    "draft": {
        "description": "How tokens are proposed while it learns (argmax).",
        "enum": ["argmax", "sample"],
    },
    "gamma": {"description": "Tokens drafted per cycle while it learns (4).", "type": "integer", "minimum": 1},
    "max_new_tokens": {"description": "Longest answer while it learns (64).", "type": "integer", "minimum": 1},
    "temperature": {
        "description": "Of the verification while it learns; 0 is greedy (0).",
        "type": "number",
        "minimum": 0,
    },
    "batch": {
        "description": "Prompts that are served at once, held-out ones too; seconds are those of such batches (1).",
        "type": "integer",
        "minimum": 1,
    },
    "fast_batch": {
        "description": "An update after so many accepted tokens, or 8 times as many decided ones (32).",
        "type": "integer",
        "minimum": 1,
    },
    "buffer": {"description": "Records kept for replay (2048).", "type": "integer", "minimum": 1},
    "replay": {"description": "Older records in an update, for each new one (1).", "type": "number", "minimum": 0},
    "baseline_momentum": {
        "description": "Of the moving average of the reward (0.99).",
        "type": "number",
        "minimum": 0,
        "exclusiveMaximum": 1,
    },
    "tau": {"description": "Temperature of the KL losses (1).", "type": "number", "exclusiveMinimum": 0},
    "warmup": {
        "description": "Updates until the composite objective moves, and for which it moves (100).",
        "type": "integer",
        "minimum": 0,
    },
    "learning_rate": {"description": "Of all that learns (the capacity's own).", "type": "number", "minimum": 0},
    "weight_decay": {"description": "Of AdamW (0).", "type": "number", "minimum": 0},
    "gradient_clip": {
        "description": "Largest norm of a step's gradient (1).",
        "type": "number",
        "exclusiveMinimum": 0,
    },
    "evaluate_every": {
        "description": "Prompts between evaluations on held-out prompts; 0: before and after alone (0).",
        "type": "integer",
        "minimum": 0,
    },
    "held_out_prompts": {
        "description": "Held-out prompts to evaluate on; 0 is all (0).",
        "type": "integer",
        "minimum": 0,
    },
    "prompts": {"description": "Length of the stream; 0 is all (0).", "type": "integer", "minimum": 0},
    "seed": {
        "description": "Of the stream's order, of drawn drafts, of what is replayed (0). Entries that differ in it "
        "alone are seeds of one line in figures and tables.",
        "type": "integer",
        "minimum": 0,
    },
}


def build(
    name: str, settings: Mapping[str, Any], target: Llama, drafting: Drafting, kept_ids: Tensor | None
) -> ExitDrafter:
    """See `drafter_of`; raises StudyError as `exit_drafter`."""
    return exit_drafter(settings["folder"], target, drafting, kept_ids)[0]
