"""`selfdraft differences`: paired differences between the points of each sweep, and the spread between seeds."""

import argparse
from pathlib import Path

from selfdraft.commands.options import add_origin
from selfdraft.commands.results import bootstrap_settings
from selfdraft.errors import StudyError


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the stage."""
    for kind in ("quality", "acceptance", "speed"):
        parser.add_argument(f"--{kind}", type=Path, help=f"raw {kind} table (left out: not measured)")
    parser.add_argument("--sweeps", required=True, help="the config's `sweeps` section as JSON")
    parser.add_argument("--settings", default="{}", help="JSON: resamples, confidence, seed")
    add_origin(parser)
    parser.add_argument("--out", type=Path, required=True, help="differences.csv")
    parser.add_argument("--spread", type=Path, help="seed_spread.csv (left out: not written)")


def run(args: argparse.Namespace) -> None:
    """Read, compare, write."""
    from selfdraft.commands.settings import json_option

    settings, sweeps = bootstrap_settings(args.settings), json_option(args.sweeps, "--sweeps")
    if args.quality is None and args.acceptance is None and args.speed is None:
        raise StudyError("--quality, --acceptance, --speed: none is given; name at least one raw table")

    from selfdraft.statistics.bootstrap import Bootstrap
    from selfdraft.statistics.differences import (
        Tables,
        differences_columns,
        make_differences,
        make_spread,
        spread_columns,
    )
    from selfdraft.statistics.tables import write_results

    tables = Tables(args.quality, args.acceptance, args.speed, Bootstrap(**settings))
    told = {"commit": args.commit, "config_hash": args.config_hash}
    rows = [row | told for row in make_differences(tables, sweeps)]
    write_results(args.out, differences_columns(), rows)
    print(f"{args.out}: {len(rows)} pairs")
    if args.spread is not None:
        spread = [row | told for row in make_spread(tables)]
        write_results(args.spread, spread_columns(), spread)
        print(f"{args.spread}: {len(spread)} points with several seeds")
