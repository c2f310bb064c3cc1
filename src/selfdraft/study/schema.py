"""The config's schema: the rules of its sections, and what the kinds of drafters say of themselves."""

from pathlib import Path
from typing import Any

from selfdraft import drafters
from selfdraft.settings.capacity_rules import read_capacity_rules
from selfdraft.settings.rules import SCHEMA


def read_schema(path: str | Path = SCHEMA) -> dict[str, Any]:
    """The JSON schema of a config; a new one at each call."""
    schema = read_capacity_rules(path)
    schema["properties"]["drafters"]["additionalProperties"] = drafters.schema()
    return schema
