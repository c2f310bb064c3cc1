"""`selfdraft exit-layers`: where the tokens of drafters with several heads left, and what that was worth."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from selfdraft.commands.options import add_origin
from selfdraft.commands.results import bootstrap_settings
from selfdraft.errors import StudyError

if TYPE_CHECKING:
    from selfdraft.statistics.exit_layers import Heads


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the stage."""
    parser.add_argument("--results", type=Path, required=True, help="results.csv")
    parser.add_argument("--acceptance", type=Path, required=True, help="acceptance.csv of the same study")
    parser.add_argument(
        "--drafters", required=True, help='the config\'s drafters as JSON: {"fast": {"kind": "adaptive_early_exit", …}}'
    )
    parser.add_argument(
        "--speed", type=Path, help="speed.csv of the same study (left out: not compared with fixed exits)"
    )
    parser.add_argument("--steps", type=Path, help="steps.csv of the same study (left out: asking heads is not told)")
    parser.add_argument("--settings", default="{}", help="JSON: resamples, confidence, seed")
    add_origin(parser)
    parser.add_argument("--out", type=Path, required=True, help="exit_layers.csv")


def run(args: argparse.Namespace) -> None:
    """Read, count, write."""
    from selfdraft.calibration.record import LEVEL, MEASURE, RISKS, RULE
    from selfdraft.drafters import KINDS, kind_of
    from selfdraft.statistics.bootstrap import Bootstrap
    from selfdraft.statistics.differences import Tables
    from selfdraft.statistics.exit_layers import COLUMNS, Asked, exit_layer_rows
    from selfdraft.statistics.methods import read_points
    from selfdraft.statistics.raw_tables import read_raw
    from selfdraft.statistics.tables import write_results

    bootstrap = Bootstrap(**bootstrap_settings(args.settings))
    try:
        drafters = json.loads(args.drafters)
    except json.JSONDecodeError as error:
        raise StudyError(f"--drafters: not valid JSON ({error})") from None
    usual = (("accuracy_level", LEVEL), ("measure", MEASURE), ("rule", RULE))
    asked, folders = {}, {}
    for name, made in drafters.items():
        if made["kind"] not in KINDS or not kind_of(made["kind"]).heads:
            continue
        heads = Path(made["drafter"]["folder"]).name
        if made["kind"] == "dynamic":
            asked[name] = Asked(made["kind"], heads)
        else:
            level, measure, rule = (made.get(*pair) for pair in usual)
            asked[name] = Asked(made["kind"], heads, f"{level:g}", measure, rule, made.get("risk", RISKS[0]))
        folders[heads] = made["drafter"]["folder"]
    if not asked:
        raise StudyError("--drafters: none of kind adaptive_early_exit or dynamic; nothing leaves at several layers")
    tables = None if args.speed is None else Tables(None, args.acceptance, args.speed, bootstrap)
    are = {} if args.speed is None else {name: heads_in(folder) for name, folder in folders.items()}
    steps = None if args.steps is None else read_raw(args.steps, "steps")
    points, acceptance = read_points(args.results), read_raw(args.acceptance, "acceptance")
    rows = exit_layer_rows(points, acceptance, asked, bootstrap, tables, are, steps)
    told = {"commit": args.commit, "config_hash": args.config_hash}
    write_results(args.out, [*COLUMNS, *told], [row | told for row in rows])
    print(f"{args.out}: {len(rows)} rows of {len(asked)} drafters")


def heads_in(folder: str) -> "Heads":
    """What the config.json of a folder of heads says of them. Raises StudyError where it does not."""
    from selfdraft.files import read_json
    from selfdraft.statistics.exit_layers import Heads
    from selfdraft.statistics.raw_tables import setting

    path = Path(folder) / "config.json"
    config = read_json(path)
    for key in ("heads", "capacity", "T"):
        if not isinstance(config, dict) or key not in config:
            raise StudyError(f"{path}: {key}: missing; is this a folder of heads made by `selfdraft train-drafter`?")
    layers = frozenset(str(layer) for layer in config["heads"])
    return Heads(layers, str(config["capacity"]), setting(str(config["T"]), "T", path))
