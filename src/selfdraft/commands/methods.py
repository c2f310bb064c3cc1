"""`selfdraft methods`: each way to draft at its best setting, on the prompts of every data set."""

import argparse
from pathlib import Path

from selfdraft.commands.options import add_origin
from selfdraft.commands.results import bootstrap_settings


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the stage."""
    parser.add_argument("--results", type=Path, required=True, help="results.csv")
    parser.add_argument("--acceptance", type=Path, help="acceptance.csv: with --steps, speedups are predicted")
    parser.add_argument("--steps", type=Path, help="steps.csv of the same study")
    parser.add_argument(
        "--dataset", help="the study's own prompts, on which settings are chosen (default: the timed ones)"
    )
    parser.add_argument("--settings", default="{}", help="JSON: resamples, confidence, seed, of the predictions")
    add_origin(parser)
    parser.add_argument("--out", type=Path, required=True, help="methods.csv")


def run(args: argparse.Namespace) -> None:
    """Read, choose, write; the table is printed as Markdown too."""
    from selfdraft.errors import StudyError
    from selfdraft.statistics.bootstrap import Bootstrap
    from selfdraft.statistics.methods import COLUMNS, lines_of, methods, read_points
    from selfdraft.statistics.raw_tables import read_raw
    from selfdraft.statistics.step_files import read_steps
    from selfdraft.statistics.tables import write_results

    bootstrap = Bootstrap(**bootstrap_settings(args.settings))
    if (args.acceptance is None) != (args.steps is None):
        raise StudyError("--acceptance, --steps: a prediction takes both; give both, or none")
    results = read_points(args.results)
    acceptance = None if args.acceptance is None else read_raw(args.acceptance, "acceptance")
    steps = None if args.steps is None else read_steps(args.steps)
    rows = methods(results, args.dataset, acceptance, steps, bootstrap)
    told = {"commit": args.commit, "config_hash": args.config_hash}
    write_results(args.out, [*COLUMNS, *told], [row | told for row in rows])
    print("\n".join(lines_of(rows)))
