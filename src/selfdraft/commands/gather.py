"""`selfdraft gather`: join raw tables of many points into one."""

import argparse
from pathlib import Path

from selfdraft.statistics.gather import gather


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the stage."""
    parser.add_argument("--tables", nargs="+", type=Path, required=True, help="CSV tables with equal columns")
    parser.add_argument("--out", type=Path, required=True, help="the joined CSV table")


def run(args: argparse.Namespace) -> None:
    """Join, and say how much."""
    rows = gather(args.tables, args.out)
    print(f"{args.out}: {rows} rows of {len(args.tables)} tables")
