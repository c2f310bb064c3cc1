"""Settings against their rules: each mistake told in one line."""

import math
from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator, validators

from selfdraft.errors import StudyError
from selfdraft.settings.problems import problem, urgency
from selfdraft.settings.rules import definitions

# .nan and .inf are numbers to YAML, and 2.0 a whole number to JSON schema, but settings of nothing.
Validator = validators.extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many(
        {
            "number": lambda _, value: type(value) in (int, float) and math.isfinite(value),
            "integer": lambda _, value: type(value) is int,
        }
    ),
)


def first_problem(values: Any, rule: Mapping[str, Any], *where: str) -> str | None:
    """One line for the first mistake in `values`, which lie at `where` in the config; None if there is none."""
    errors = sorted(Validator(rule).iter_errors(values), key=urgency)
    return problem(errors[0], *where) if errors else None


def check(values: Any, rule: Mapping[str, Any], *where: str) -> None:
    """Raise StudyError for the first mistake in `values`, settings of a section or an entry: key and all.

    The rule may refer to `rules.definitions`, unless it has `$defs` of its own.
    """
    if found := first_problem(values, {"$defs": definitions(), **rule}, *where):
        raise StudyError(found)
