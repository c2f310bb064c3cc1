"""Rules of settings, as JSON schemas: a section of the config's schema, or what a drafter's kind says of itself."""

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, cast

import yaml

from selfdraft.capacities import CAPACITIES, LEARNING_RATES, RANKS, capacity_named, described

SCHEMA = Path(__file__).with_name("config.schema.yaml")


def read_rules(path: str | Path = SCHEMA) -> dict[str, Any]:
    """The schema of a config but for its drafters, with the capacities, their learning rates and ranks; a new one."""
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
    schema["$defs"]["capacity"] |= {"description": f"{described()}.", "enum": list(CAPACITIES)}
    return schema


@cache
def section(*path: str) -> dict[str, Any]:
    """The rule of a section (`training`), or of what is named in one (`policies`: of each policy)."""
    rule = _rules()["properties"][path[0]]
    for key in path[1:]:
        rule = rule["properties"][key]
    named = rule.get("additionalProperties")
    return cast(dict[str, Any], named if isinstance(named, dict) else rule)


def definitions() -> dict[str, Any]:
    """What rules refer to as `#/$defs/NAME`."""
    return cast(dict[str, Any], _rules()["$defs"])


@cache
def _rules() -> dict[str, Any]:
    return read_rules()


@cache
def _parsed(text: str) -> Any:
    """YAML, read once; by libyaml, which takes a twentieth of the time, where PyYAML has it."""
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _trained_by(part: str) -> str:
    users = [name for name in CAPACITIES if part in capacity_named(name).parts]
    return "norms, the draft's own and those of its layers" if part == "norm" else f"this part of {', '.join(users)}"
