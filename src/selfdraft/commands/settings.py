"""Options that carry a section of the config as JSON."""

import json
from typing import Any

from selfdraft.errors import StudyError


def json_option(text: str, option: str, kind: type = dict) -> Any:
    """Parse the JSON of an option. Raises StudyError that names it if it is not JSON of that kind."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise StudyError(f"{option}: not valid JSON ({error}); found {text[:60]!r}") from None
    if not isinstance(value, kind):
        raise StudyError(f"{option}: found a {type(value).__name__}, a JSON {kind.__name__} is right")
    return value


def known_keys(settings: dict[str, Any], defaults: dict[str, Any], section: str) -> dict[str, Any]:
    """`defaults` overlaid with `settings`; whole numbers are counts ≥ 1, but for `seed` ≥ 0.

    Raises StudyError for a key that `defaults` lacks, or a value of another kind or size.
    """
    unknown = sorted(set(settings) - set(defaults))
    if unknown:
        raise StudyError(f"{section}.{unknown[0]}: unknown key; known are {', '.join(defaults)}")
    for key, value in settings.items():
        kind, least = type(defaults[key]), 0 if key == "seed" else 1
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise StudyError(f"{section}.{key}: found {value!r}, a value like {defaults[key]!r} is right")
        if kind in (int, float) and value < (least if kind is int else 0):
            raise StudyError(f"{section}.{key}: {value} is not ≥ {least}")
    return defaults | settings
