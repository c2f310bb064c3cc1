"""Rules of settings, as JSON schemas: the sections of the config's schema. Capacities have `capacity_rules`."""

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, cast

import yaml

SCHEMA = Path(__file__).with_name("config.schema.yaml")


def read_rules(path: str | Path = SCHEMA) -> dict[str, Any]:
    """The schema of a whole config as its file has it, without capacities and drafters; a new one at each call."""
    schema: dict[str, Any] = deepcopy(_parsed(Path(path).read_text(encoding="utf-8")))
    return schema


@cache
def section(name: str) -> dict[str, Any]:
    """The rule of a section (`data`), or of each entry of a section of names (`policies`)."""
    rule = read_rules()["properties"][name]
    named = rule.get("additionalProperties")
    return cast(dict[str, Any], named if isinstance(named, dict) else rule)


@cache
def definitions() -> dict[str, Any]:
    """What rules refer to as `#/$defs/NAME`."""
    return cast(dict[str, Any], read_rules()["$defs"])


@cache
def _parsed(text: str) -> Any:
    """YAML, read once; by libyaml, which takes a twentieth of the time, where PyYAML has it."""
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
