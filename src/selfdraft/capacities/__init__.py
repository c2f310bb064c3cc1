"""What can be trained of an early exit: one file a capacity, named in one list. Needs no torch."""

import importlib

from selfdraft.capacities.capacity import NORM_RATE, Capacity

# From few trained parameters to many, as far as that can be said without the model.
CAPACITIES = ("norm", "translator", "low_rank_head", "head", "head_block", "adapter", "lora")

_MADE: dict[str, Capacity] = {
    name: importlib.import_module(f"selfdraft.capacities.{name}").CAPACITY for name in CAPACITIES
}

# The usual peak learning rate of each part (the norm's differs between capacities, see `Capacity.rate`), and the usual
# rank of each capacity that has one.
LEARNING_RATES = {part: rate for made in _MADE.values() for part, rate in made.rates.items()} | {"norm": NORM_RATE}
RANKS = {name: made.rank for name, made in _MADE.items() if made.rank is not None}


def capacity_named(name: str) -> Capacity:
    """The capacity of a name in CAPACITIES."""
    return _MADE[name]


def shared_depth(layer: int, name: str) -> int:
    """The depth of the hidden state that an exit after `layer` reads, see `Capacity.depth`."""
    return _MADE[name].depth(layer)


def described() -> str:
    """All capacities with a few words each, for help and errors."""
    return "; ".join(f"{name} = {made.about}" for name, made in _MADE.items())
