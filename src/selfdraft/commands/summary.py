"""`selfdraft summary`: raw rows of batch, lengths, peers or identity to one table, with bootstrap intervals."""

import argparse
from pathlib import Path

from selfdraft.commands.options import add_origin

KINDS = ("batch", "lengths", "peers", "identity")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", choices=KINDS, help="what the raw rows are of")
    parser.add_argument("--table", type=Path, required=True, help="CSV file that the stage wrote")
    parser.add_argument("--settings", default="{}", help="JSON: resamples, confidence, seed")
    add_origin(parser)
    parser.add_argument("--out", type=Path, required=True, help="CSV file to write")


def run(args: argparse.Namespace) -> None:
    from selfdraft.commands.results import bootstrap_settings
    from selfdraft.statistics.bootstrap import Bootstrap
    from selfdraft.statistics.side_tables import write_table

    bootstrap = Bootstrap(**bootstrap_settings(args.settings))
    rows = write_table(args.kind, args.table, args.out, bootstrap, args.commit, args.config_hash)
    print(f"{args.out}: {len(rows)} rows")
