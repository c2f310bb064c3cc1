"""What can be trained of an early exit, and at which depth of the target its input lies."""

# From few trained parameters to many, as far as that can be said without the model.
CAPACITIES = ("norm", "translator", "low_rank_head", "head", "head_block", "adapter", "lora")


# What of each is trained, by the names of the config's learning rates and ranks.
PARTS = {capacity: ("norm", capacity) for capacity in CAPACITIES} | {
    "norm": ("norm",),
    "head_block": ("norm", "head", "block"),
}

# Rank of the two that have one, where the config names none.
RANKS = {"low_rank_head": 64, "lora": 16}


def shared_depth(layer: int, capacity: str) -> int:
    """How many of the target's own layers the draft runs unchanged: the depth of its input.

    Most read the output of their exit layer, depth layer + 1. head_block runs a copy of that layer
    itself; lora changes all layers that it keeps and shares the embedding alone.
    """
    return {"head_block": layer, "lora": 0}.get(capacity, layer + 1)
