"""How sure a head is of its next token: three measures, and the thresholds on each in their fixed order."""

import numpy as np
import numpy.typing as npt

from selfdraft.calibration.pvalues import Floats
from selfdraft.errors import StudyError

# At temperature 1: entropy in nats; the best token's probability; how much more probable it is than the second.
MEASURES = ("entropy", "top_probability", "margin")

_SHARES = [0.999, 0.995, *(round(share / 100, 2) for share in range(99, 0, -1))]
_GRIDS = {
    "entropy": [float(f"{nats:.3g}") for nats in np.geomspace(0.01, 10, 61)],
    "top_probability": _SHARES,
    "margin": _SHARES,
}


def check_measure(measure: str, where: str) -> None:
    """Raise StudyError naming `where` for a measure that does not exist."""
    if measure not in MEASURES:
        raise StudyError(f"{where}: {measure!r} is unknown; one of {', '.join(MEASURES)} is right")


def grid(measure: str) -> Floats:
    """The thresholds that are tried, from conservative to permissive: no data were looked at for them."""
    return np.array(_GRIDS[measure])


def low_is_sure(measure: str) -> bool:
    """Whether a head is sure at or below the threshold (of an entropy), not at or above it."""
    return measure == "entropy"


def sure(values: npt.ArrayLike, measure: str, threshold: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Whether a head leaves at these values of a measure; broadcasts."""
    found, limit = np.asarray(values), np.asarray(threshold)
    return found <= limit if low_is_sure(measure) else found >= limit
