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
RISKS = ("disagreement", "no_harm")  # what a level may be of
LEVEL, MEASURE, RULE = 0.75, "entropy", "learn_then_test"  # what a drafter asks for that names none


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
    heads = calibration["thresholds"]
    made = {int(layer): _at_level(of_head, level, measure, rule, where) for layer, of_head in heads.items()}
    if all(one["threshold"] is None for one in made.values()):
        needed = [one["conversations_needed"] for one in made.values() if one.get("conversations_needed")]
        raise StudyError(
            f"{where}.accuracy_level: no head reaches {level_text(level)} ({_more(needed)}); choose a lower one"
        )
    return {layer: one["threshold"] for layer, one in made.items()}


def joint_threshold_of(calibration: Mapping[str, Any], level: float, measure: str, rule: str, where: str) -> float:
    """The threshold that all heads share where nothing is verified, at an accuracy level: of all tokens.

    Raises StudyError as `thresholds_of`, also for a level that is unreachable, or a calibration without such.
    """
    if "joint" not in calibration:
        raise StudyError(f"{where}: the heads were not calibrated together; run `selfdraft calibrate` again")
    made = _at_level(calibration["joint"], level, measure, rule, where)
    if made["threshold"] is None:
        needed = [made["conversations_needed"]] if made.get("conversations_needed") else []
        raise StudyError(
            f"{where}.accuracy_level: {level_text(level)} is not reached without verification ({_more(needed)}); "
            "choose a lower one"
        )
    return float(made["threshold"])


def unharmed_thresholds_of(
    calibration: Mapping[str, Any], level: float, measure: str, rule: str, where: str
) -> tuple[dict[int, float | None], int]:
    """By layer the threshold that the heads share which leave a share `level` of conversations unharmed; others None.

    Also the longest draft that this is promised of. Raises StudyError as `thresholds_of`, also for a level that is
    unreachable, or a calibration without such.
    """
    if "no_harm" not in calibration:
        raise StudyError(f"{where}.risk: not calibrated for no_harm; run `selfdraft calibrate --risk no_harm` again")
    own = calibration["no_harm"]
    made = _at_level(own["thresholds"], level, measure, rule, where)
    if made["threshold"] is None:
        needed = [made["conversations_needed"]] if made.get("conversations_needed") else []
        raise StudyError(
            f"{where}.accuracy_level: no way to ask the heads leaves {level_text(level)} of conversations unharmed "
            f"({_more(needed)}); choose a lower one"
        )
    asked = made["heads"]
    return {int(layer): made["threshold"] if int(layer) in asked else None for layer in calibration["thresholds"]}, int(
        own["gamma"]
    )


def _at_level(of_rules: Mapping[str, Any], level: float, measure: str, rule: str, where: str) -> dict[str, Any]:
    """What was chosen at a level. Raises StudyError naming `where` for an unknown measure, rule or level."""
    check_measure(measure, f"{where}.measure")
    if rule not in RULES:
        raise StudyError(f"{where}.rule: {rule!r} is unknown; one of {', '.join(RULES)} is right")
    known: dict[str, Any] = of_rules[measure][rule]
    if type(level) not in (int, float) or level_text(level) not in known or float(level_text(level)) != level:
        raise StudyError(f"{where}.accuracy_level: {level!r} was not calibrated; there are {', '.join(sorted(known))}")
    made: dict[str, Any] = known[level_text(level)]
    return made


def _more(needed: list[int]) -> str:
    return f"it would take {min(needed)} conversations" if needed else "no number of conversations would do"
