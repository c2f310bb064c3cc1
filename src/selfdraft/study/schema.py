"""The config's schema: the file that describes every key, and what capacities and drafters say of themselves."""

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from selfdraft import drafters
from selfdraft.capacities import CAPACITIES, LEARNING_RATES, RANKS, capacity_named, described

SCHEMA = Path(__file__).resolve().parents[3] / "workflow/schemas/config.schema.yaml"


def read_schema(path: str | Path = SCHEMA) -> dict[str, Any]:
    """The JSON schema of a config, with the capacities, their learning rates and ranks, and the kinds of drafters."""
    schema: dict[str, Any] = deepcopy(_parsed(Path(path).read_text(encoding="utf-8")))
    training = schema["properties"]["training"]["properties"]
    training["learning_rate"]["properties"] = {
        part: {"description": f"Of {_trained_by(part)} ({rate:.0e}).", "$ref": "#/$defs/learning_rate"}
        for part, rate in LEARNING_RATES.items()
    }
    training["ranks"]["properties"] = {
        name: {"description": f"Rank of {capacity_named(name).about} ({rank}).", "type": "integer", "minimum": 1}
        for name, rank in RANKS.items()
    }
    capacity = schema["properties"]["sweeps"]["additionalProperties"]["properties"]["capacity"]
    capacity["description"] += f" {described()}."
    capacity["items"] = {"enum": list(CAPACITIES)}
    schema["properties"]["drafters"]["additionalProperties"] = made = drafters.schema()
    of_exits = made["allOf"][drafters.KINDS.index("exits")]["then"]["properties"]
    of_exits["capacity"] |= {"enum": list(CAPACITIES)}
    # The same keys; what an entry leaves out has the stage's own default, which is none of the entry.
    of_exits["training"]["properties"] = {
        key: {name: value for name, value in rule.items() if name != "default"} for key, rule in training.items()
    }
    return schema


@cache
def _parsed(text: str) -> Any:
    """YAML, read once; by libyaml, which takes a twentieth of the time, where PyYAML has it."""
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _trained_by(part: str) -> str:
    users = [name for name in CAPACITIES if part in capacity_named(name).parts]
    return "norms, the draft's own and those of its layers" if part == "norm" else f"this part of {', '.join(users)}"
