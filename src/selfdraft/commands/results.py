"""`selfdraft results`: raw tables to results.csv, with bootstrap intervals."""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from selfdraft.commands.options import add_origin
from selfdraft.errors import StudyError
from selfdraft.files import read_json
from selfdraft.statistics.columns import LOSSLESS, SIZES


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the stage."""
    for kind in ("quality", "acceptance", "speed", "steps"):
        parser.add_argument(f"--{kind}", type=Path, help=f"raw {kind} table (left out: not measured)")
    parser.add_argument(
        "--drafters",
        nargs="*",
        default=[],
        help="folders made by `selfdraft train` and `train-drafter`, for their sizes and what training took; "
        "NAME=FOLDER where the tables have another name for it",
    )
    parser.add_argument("--machine", type=Path, help="machine.json, for mbu (left out: mbu is empty)")
    parser.add_argument("--settings", default="{}", help="JSON: resamples, confidence, seed")
    add_origin(parser)
    parser.add_argument("--out", type=Path, required=True, help="results.csv")


def bootstrap_settings(text: str, option: str = "--settings") -> dict[str, Any]:
    """The statistics section from its JSON. Raises StudyError naming the key that is wrong."""
    try:
        settings = json.loads(text)
    except json.JSONDecodeError as error:
        raise StudyError(f"{option}: not valid JSON ({error})") from None
    known = {"resamples": 9999, "confidence": 0.95, "seed": 0}
    if not isinstance(settings, dict):
        raise StudyError(f"{option}: {settings!r} is not an object with {', '.join(known)}")
    for key in settings:
        if key not in known:
            raise StudyError(f"{option}: {key}: unknown key; known are {', '.join(known)}")
    settings = known | settings
    for key, least in (("resamples", 1), ("seed", 0)):
        if type(settings[key]) is not int or settings[key] < least:
            raise StudyError(f"{option}: {key}: {settings[key]!r} is not a whole number >= {least}")
    if not isinstance(settings["confidence"], int | float) or not 0 < settings["confidence"] < 1:
        raise StudyError(f"{option}: confidence: {settings['confidence']!r} is not between 0 and 1")
    return settings


def bandwidth(path: Path | None) -> float | None:
    """The machine's measured read bandwidth in GB/s; None without a machine file."""
    if path is None:
        return None
    machine = read_json(path)
    value = machine.get("read_bandwidth_gb_s") if isinstance(machine, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise StudyError(f"{path}: read_bandwidth_gb_s: {value!r} is not a number > 0")
    return float(value)


def drafter_config(given: str) -> dict[str, Any]:
    """What the folder of something trained says of it, under the name that is given as NAME=FOLDER or its own.

    Raises StudyError for a folder of something else.
    """
    name, _, folder = given.rpartition("=") if not Path(given).exists() else ("", "", given)
    path = Path(folder) / "config.json"
    config = read_json(path)
    if not isinstance(config, dict) or not isinstance(config.get("drafter"), str):
        raise StudyError(f"{path}: drafter: missing; is this a folder made by `selfdraft train` or `train-drafter`?")
    for key in ("T", "capacity", "objective", "seed"):
        if "layer" in config and key not in config:
            raise StudyError(f"{path}: {key}: missing; is this a folder made by `selfdraft train`?")
    sizes = {key: config[key] for key in (LOSSLESS, *SIZES) if key in config}
    return {"drafter": name, **sizes} if name else config


def by_settings(configs: Iterable[dict[str, Any]]) -> dict[tuple[str, ...], dict[str, Any]]:
    """Configs of folders by the settings that their rows may have: by name, as entries of `drafters`, or as exits."""
    from selfdraft.statistics.tables import draft_key

    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for config in configs:
        as_exit = {key: value for key, value in config.items() if key != "kind"}
        found |= {draft_key(as_exit): config, draft_key(config): config}
    return found


def run(args: argparse.Namespace) -> None:
    """Read, estimate, write."""
    settings = bootstrap_settings(args.settings)
    if args.quality is None and args.acceptance is None and args.speed is None:
        raise StudyError("--quality, --acceptance, --speed: none is given; name at least one raw table")
    bandwidth_gb_s = bandwidth(args.machine)

    from selfdraft.statistics.bootstrap import Bootstrap
    from selfdraft.statistics.tables import make_results, write_results

    columns, rows = make_results(
        args.quality,
        args.acceptance,
        args.speed,
        args.steps,
        bandwidth_gb_s,
        Bootstrap(**settings),
        args.commit,
        args.config_hash,
        by_settings(map(drafter_config, args.drafters)),
    )
    write_results(args.out, columns, rows)
    print(f"{args.out}: {len(rows)} points")
