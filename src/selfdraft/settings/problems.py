"""One line for one mistake against a rule: the key, what was found, what would be right."""

import json
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, cast

from jsonschema import ValidationError

TYPES = {
    "object": "a mapping (key: value)",
    "array": "a list",
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}


def urgency(error: ValidationError) -> tuple[int, list[str]]:
    """Unknown keys first, since a misspelt key is also a missing one; then in the order of the keys."""
    first = {"additionalProperties": 0, "propertyNames": 0, "type": 1}
    return first.get(str(error.validator), 2), [str(part) for part in error.absolute_path]


def _key(parts: Iterable[Any]) -> str:
    return ".".join(str(part) for part in parts)


def shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "…"


def problem(error: ValidationError, *where: str) -> str:
    """One line for one error: the key below `where`, what was found, what would be right."""
    path = [*where, *error.absolute_path]
    key = _key(path)
    before = f"{key}: " if key else ""
    found: Any = error.instance
    kind, limit, rule = str(error.validator), cast(Any, error.validator_value), cast(Any, error.schema)
    if kind == "additionalProperties":
        known = list(rule.get("properties", {}))
        unknown = next(name for name in found if name not in known)
        return f"{_key([*path, unknown])}: unknown key; {suggestion(str(unknown), known)}"
    if kind == "required":
        missing = next(name for name in limit if name not in found)
        return f"{_key([*path, missing])}: missing; it must be set"
    if kind == "type":
        wanted = " or ".join(TYPES.get(name, name) for name in ([limit] if isinstance(limit, str) else limit))
        hint = ""
        if limit == "number" and isinstance(found, str) and "e" in found.lower() and _is_number(found):
            hint = f"; write {float(found):.1e} (YAML reads an exponent only after a decimal point)"
        return f"{before}{shown(found)} is not {wanted}{hint}"
    if kind == "enum":
        return f"{before}{shown(found)} is not known; {suggestion(str(found), [str(item) for item in limit])}"
    if kind in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
        return f"{before}{shown(found)} is not {_range(rule)}"
    if kind == "pattern":
        return f"{before}{shown(found)} is not {rule.get('description', 'of the form ' + limit)}"
    if kind == "minItems" or kind == "minProperties":
        return f"{before}{shown(found)} has too few entries; at least {limit} must be there"
    if kind == "maxItems":
        return f"{before}{shown(found)} has too many entries; at most {limit} may be there"
    return f"{before}{' '.join(error.message.split())}"


def suggestion(found: str, known: list[str]) -> str:
    close = get_close_matches(found, known, n=1, cutoff=0.6)
    return f'did you mean "{close[0]}"?' if close else f"known are {', '.join(known)}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _range(rule: dict[str, Any]) -> str:
    """The range that a schema allows, as the text after "is not": `> 0`, `≥ 1`, `in (0, 1]`."""
    low, high = rule.get("minimum"), rule.get("maximum")
    above, below = rule.get("exclusiveMinimum"), rule.get("exclusiveMaximum")
    if (low is not None or above is not None) and (high is not None or below is not None):
        left = f"({above}" if above is not None else f"[{low}"
        right = f"{below})" if below is not None else f"{high}]"
        return f"in {left}, {right}"
    limits = {">": above, "≥": low, "<": below, "≤": high}
    return next(f"{sign} {limit}" for sign, limit in limits.items() if limit is not None)
