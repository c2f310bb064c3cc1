"""How a number is written: with the digits it deserves, its interval beside it, a dash for what was not measured."""

import math
from collections.abc import Mapping
from typing import Any

NONE = "–"
# digits after the point, by measure; two where nothing else is said
DIGITS = {"top1": 3, "efficiency": 3, "identical": 2, "tokens_per_second": 1, "vanilla_tps": 1, "spec_tps": 1}
DIGITS |= {"draft_ms": 1, "verify_ms": 1, "step_ms": 1, "compile_s": 1, "top2_gap_median": 3}


def is_known(value: Any) -> bool:
    """Whether a cell holds a number."""
    return isinstance(value, int | float) and math.isfinite(value)


def number(value: Any, digits: int = 2) -> str:
    """A number with `digits` after the point; a dash for none, no sign before a zero."""
    if not is_known(value):
        return NONE
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if not float(text) else text.replace("-", "−")


def whole(value: Any) -> str:
    """A count: 31.9 M, 576, 12,800."""
    if not is_known(value):
        return NONE
    return f"{value / 1e6:.3g} M" if value >= 1e6 else f"{value:,.0f}"


def plain(value: Any) -> str:
    """A setting: 4, 0.7, head_block; a dash for one that a drafter does not have."""
    if isinstance(value, str):
        return value or NONE
    return f"{value:g}" if is_known(value) else NONE


def interval(row: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    """Both ends of a measure's interval; None without one."""
    ends = (row.get(f"{name}_low"), row.get(f"{name}_high"))
    return (float(ends[0]), float(ends[1])) if is_known(ends[0]) and is_known(ends[1]) else None  # type: ignore[arg-type]


def estimate(row: Mapping[str, Any], name: str, digits: int | None = None) -> str:
    """A measure and its interval: 0.41 [0.37, 0.46]; the measure alone where it has none."""
    digits = DIGITS.get(name, 2) if digits is None else digits
    value, ends = row.get(name), interval(row, name)
    text = number(value, digits)
    if text == NONE or ends is None:
        return text
    return f"{text} [{number(ends[0], digits)}, {number(ends[1], digits)}]"
