"""`selfdraft online`: what drafts learnt while they decoded, with intervals over seeds, as one table."""

import argparse
from pathlib import Path

from selfdraft.commands.options import add_origin
from selfdraft.commands.results import bootstrap_settings


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the stage."""
    parser.add_argument(
        "--runs", nargs="+", type=Path, required=True, help="folders made by `selfdraft dvi`, those of all seeds"
    )
    parser.add_argument("--settings", default="{}", help="JSON: resamples, confidence, seed; confidence is used")
    add_origin(parser)
    parser.add_argument("--out", type=Path, required=True, help="online.csv")


def run(args: argparse.Namespace) -> None:
    """Read, estimate, write."""
    from selfdraft.statistics.online import COLUMNS, online_rows, read_run
    from selfdraft.statistics.tables import write_results

    settings = bootstrap_settings(args.settings)
    rows = online_rows([read_run(folder) for folder in args.runs], float(settings["confidence"]))
    told = {"commit": args.commit, "config_hash": args.config_hash}
    write_results(args.out, [*COLUMNS, *told], [row | told for row in rows])
    for row in rows:
        if row["part"] in ("held_out", "beside"):
            print(f"{row['learner']}: {row['accepted_mean']} accepted after {row.get('prompts', '-')} prompts")
        elif row["part"] != "stream":
            found = row.get("over_trained") or row["interval_note"]
            print(f"{row['learner']}, {row['part'].replace('_', ' ')} as the exit trained before: {found} over it")
