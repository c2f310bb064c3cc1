"""Rules of what is trained of an exit: the schema with the capacities, their learning rates and ranks.

Apart from the other rules, so that a new capacity repeats no stage that trains none.
"""

from functools import cache
from pathlib import Path
from typing import Any, cast

from selfdraft.capacities import CAPACITIES, LEARNING_RATES, RANKS, capacity_named, described
from selfdraft.settings.rules import SCHEMA, read_rules


def read_capacity_rules(path: str | Path = SCHEMA) -> dict[str, Any]:
    """The schema of a whole config but for its drafters; a new one at each call."""
    schema = read_rules(path)
    training = schema["properties"]["training"]["properties"]
    training["learning_rate"]["properties"] = {
        part: {"description": f"Of {_trained_by(part)} ({rate:.0e}).", "$ref": "#/$defs/learning_rate"}
        for part, rate in LEARNING_RATES.items()
    }
    training["ranks"]["properties"] = {
        name: {"description": f"Rank of {capacity_named(name).about} ({rank}).", "type": "integer", "minimum": 1}
        for name, rank in RANKS.items()
    }
    schema["$defs"]["capacity"] |= {"description": f"{described()}.", "enum": list(CAPACITIES)}
    return schema


@cache
def training_rule() -> dict[str, Any]:
    """The rule of the section `training`."""
    return cast(dict[str, Any], read_capacity_rules()["properties"]["training"])


@cache
def definitions_with_capacities() -> dict[str, Any]:
    """As `rules.definitions`, with those of exits: `capacity` and `training`."""
    return cast(dict[str, Any], read_capacity_rules()["$defs"])


def _trained_by(part: str) -> str:
    users = [name for name in CAPACITIES if part in capacity_named(name).parts]
    return "norms, the draft's own and those of its layers" if part == "norm" else f"this part of {', '.join(users)}"
