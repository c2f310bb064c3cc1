"""From the options that name drafts and ways of drafting to the drafters that a stage measures."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from selfdraft.commands.settings import json_option
from selfdraft.drafters import KINDS, drafter_of, kind_of
from selfdraft.errors import StudyError

if TYPE_CHECKING:
    from torch import Tensor

    from selfdraft.decoding.drafter import Drafter
    from selfdraft.decoding.drafting import Drafting
    from selfdraft.models.llama import Llama

HELP_DRAFTERS = (
    'drafters that are no exit, by name, as JSON: {"lookup": {"kind": "lookup", "max_ngram": 3}}; kinds and their '
    "settings: " + "; ".join(f"{kind} ({', '.join(kind_of(kind).known_by)})" for kind in KINDS)
)
HELP_DRAFTING = 'ways of drafting by name, as JSON: {"trimmed": {"vocabulary": 8192}}; fixed needs no entry'
HELP_COUNTED = "data that a trimmed vocabulary is counted on (default: --data)"
HELP_POINTS = "JSON list of [draft's name, gamma, way of drafting (default: fixed)]"


class Measured(NamedTuple):
    """One point to measure: its drafter, its draft length, and the settings columns of its rows."""

    drafter: "Drafter"
    gamma: int
    settings: dict[str, Any]


class PointOption(NamedTuple):
    """One entry of `--points`."""

    name: str
    gamma: int
    drafting: str


def add_points(parser: argparse.ArgumentParser) -> None:
    """The options `--checkpoints`, `--drafters`, `--drafting` and `--points`: what is measured."""
    parser.add_argument(
        "--checkpoints", nargs="*", default=[], help="folders made by `selfdraft train`, or hub:OWNER/NAME@COMMIT"
    )
    parser.add_argument("--drafters", default="{}", help=HELP_DRAFTERS)
    parser.add_argument("--drafting", default="{}", help=HELP_DRAFTING)
    parser.add_argument("--points", required=True, help=HELP_POINTS)


def point_list(text: str, option: str) -> list[PointOption]:
    """A JSON list of [draft's name, gamma] or [draft's name, gamma, drafting]. Raises StudyError naming `option`."""
    points = json_option(text, option, list)
    for point in points:
        kinds = [type(part) for part in point] if isinstance(point, list) else []
        if kinds not in ([str, int], [str, int, str]):
            raise StudyError(f'{option}: found {point!r}, a list like ["layer6_T1.0_head", 4] is right')
        if point[1] < 1:
            raise StudyError(f"{option}: gamma: {point[1]} is not ≥ 1")
    if not points:
        raise StudyError(f"{option}: no point to measure")
    return [PointOption(point[0], point[1], point[2] if len(point) == 3 else "fixed") for point in points]


def ways(text: str) -> dict[str, "Drafting"]:
    """`--drafting`: the ways of drafting by name, `fixed` included. Raises StudyError for a wrong setting."""
    from selfdraft.decoding.drafting import Drafting

    found = {"fixed": Drafting()}
    for name, settings in json_option(text, "--drafting").items():
        if not isinstance(settings, dict):
            raise StudyError(f"--drafting: {name}: found {settings!r}, an object of settings is right")
        found[name] = Drafting.from_settings(name, settings)
    return found


def kept_ids(drafting: "Drafting", data: str, vocab: int) -> "Tensor | None":
    """The draft vocabulary of a way of drafting: the most frequent tokens of the data's training split."""
    if drafting.vocabulary is None:
        return None
    from selfdraft.models.vocabulary import most_frequent
    from selfdraft.sequences import read_counts

    return most_frequent(read_counts(data, vocab), drafting.vocabulary)


def measured_points(
    points: Sequence[PointOption],
    checkpoints: Sequence[str],
    drafters: Mapping[str, Any],
    drafting: Mapping[str, "Drafting"],
    target: "Llama",
    data: str,
    counted: str | None = None,
) -> list[Measured]:
    """Build each (draft, way of drafting) once; the target may be packed afterwards, not before.

    Trimmed vocabularies are the most frequent tokens of the training split of `counted` (or of `data`).
    Raises StudyError for a point whose draft or way of drafting is not given.
    """
    from selfdraft.drafters.exit import exit_drafter
    from selfdraft.evaluation.rows import checkpoint_settings
    from selfdraft.sequences import read_name

    dataset = read_name(data)
    folders = {Path(folder).name: folder for folder in checkpoints}
    built: dict[tuple[str, str], tuple[Drafter, dict[str, Any]]] = {}
    for name, _, way in points:
        if (name, way) in built:
            continue
        if way not in drafting:
            raise StudyError(f"--points: {way!r} is not among --drafting ({', '.join(drafting)})")
        settings: dict[str, Any] = {"dataset": dataset, "drafting": way}
        ids = kept_ids(drafting[way], counted or data, target.config.vocab_size)
        if name in folders:
            drafter, config = exit_drafter(folders[name], target, drafting[way], ids)
            built[name, way] = drafter, checkpoint_settings(config) | settings
        elif name in drafters:
            built[name, way] = (
                drafter_of(name, drafters[name], target, drafting[way], ids),
                {"drafter": name} | settings,
            )
        else:
            raise StudyError(f"--points: {name} is not among --checkpoints or --drafters")
    return [Measured(built[name, way][0], gamma, built[name, way][1] | {"gamma": gamma}) for name, gamma, way in points]
