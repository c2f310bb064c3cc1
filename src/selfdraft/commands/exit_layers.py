"""`selfdraft exit-layers`: where the tokens of drafters with several heads left, and what that was worth."""

import argparse
import json
from pathlib import Path

from selfdraft.commands.options import add_origin
from selfdraft.commands.results import bootstrap_settings
from selfdraft.errors import StudyError


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the stage."""
    parser.add_argument("--results", type=Path, required=True, help="results.csv")
    parser.add_argument("--acceptance", type=Path, required=True, help="acceptance.csv of the same study")
    parser.add_argument(
        "--drafters", required=True, help='the config\'s drafters as JSON: {"fast": {"kind": "adaptive_early_exit", …}}'
    )
    parser.add_argument("--settings", default="{}", help="JSON: resamples, confidence, seed")
    add_origin(parser)
    parser.add_argument("--out", type=Path, required=True, help="exit_layers.csv")


def run(args: argparse.Namespace) -> None:
    """Read, count, write."""
    from selfdraft.calibration.record import LEVEL, MEASURE, RULE
    from selfdraft.drafters import KINDS, kind_of
    from selfdraft.statistics.bootstrap import Bootstrap
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
    asked = {}
    for name, made in drafters.items():
        if made["kind"] not in KINDS or not kind_of(made["kind"]).heads:
            continue
        heads = Path(made["drafter"]["folder"]).name
        if made["kind"] == "dynamic":
            asked[name] = Asked(made["kind"], heads)
        else:
            level, measure, rule = (made.get(*pair) for pair in usual)
            asked[name] = Asked(made["kind"], heads, f"{level:g}", measure, rule)
    if not asked:
        raise StudyError("--drafters: none of kind adaptive_early_exit or dynamic; nothing leaves at several layers")
    rows = exit_layer_rows(read_points(args.results), read_raw(args.acceptance, "acceptance"), asked, bootstrap)
    told = {"commit": args.commit, "config_hash": args.config_hash}
    write_results(args.out, [*COLUMNS, *told], [row | told for row in rows])
    print(f"{args.out}: {len(rows)} rows of {len(asked)} drafters")
