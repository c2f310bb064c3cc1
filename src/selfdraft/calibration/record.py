"""calibration.json: what was promised of which heads on which target, and how a drafter asks for it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfdraft.calibration.exits import level_text
from selfdraft.calibration.measures import check_measure
from selfdraft.calibration.rules import RULES
from selfdraft.errors import StudyError
from selfdraft.files import read_json

FILE = "calibration.json"


def read_calibration(folder: str | Path, heads: str, target: str) -> dict[str, Any]:
    """The calibration in a folder of heads, of just these heads on just this target, by their fingerprints.

    Raises StudyError if there is none, or it is of others.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        raise StudyError(f"{path}: file not found; `selfdraft calibrate` writes it")
    found = read_json(path)
    for key in ("heads", "target", "thresholds"):
        if not isinstance(found, dict) or key not in found:
            raise StudyError(f"{path}: {key}: missing; is this a file that `selfdraft calibrate` wrote?")
    if found["heads"] != heads:
        raise StudyError(f"{path}: calibration of other heads than those beside it; run `selfdraft calibrate` again")
    if found["target"] != target:
        raise StudyError(f"{path}: calibrated on another target; run `selfdraft calibrate` again")
    return found


def thresholds_of(
    calibration: Mapping[str, Any], level: float, measure: str, rule: str, where: str
) -> dict[int, float | None]:
    """Each head's threshold at an accuracy level, by its layer; None for a head that does not reach the level.

    Raises StudyError naming `where` for an unknown measure, rule or level, or a level that no head reaches.
    """
    check_measure(measure, f"{where}.measure")
    if rule not in RULES:
        raise StudyError(f"{where}.rule: {rule!r} is unknown; one of {', '.join(RULES)} is right")
    heads = calibration["thresholds"]
    known = sorted({key for of_head in heads.values() for key in of_head[measure][rule]})
    if type(level) not in (int, float) or level_text(level) not in known or float(level_text(level)) != level:
        raise StudyError(f"{where}.accuracy_level: {level!r} was not calibrated; there are {', '.join(known)}")
    made = {int(layer): of_head[measure][rule][level_text(level)] for layer, of_head in heads.items()}
    if all(one["threshold"] is None for one in made.values()):
        needed = [one["conversations_needed"] for one in made.values() if one.get("conversations_needed")]
        more = f"it would take {min(needed)} conversations" if needed else "no number of conversations would do"
        raise StudyError(f"{where}.accuracy_level: no head reaches {level_text(level)} ({more}); choose a lower one")
    return {layer: one["threshold"] for layer, one in made.items()}
