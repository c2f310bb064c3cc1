"""`selfdraft figure`: draw one paper figure from the tables."""

import argparse
from pathlib import Path

from selfdraft.figures import FIGURES


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the stage."""
    parser.add_argument("name", metavar="NAME", choices=list(FIGURES), help=", ".join(FIGURES))
    parser.add_argument("--results", type=Path, help="results.csv")
    parser.add_argument("--acceptance", type=Path, help="raw acceptance rows, for histograms")
    parser.add_argument("--logs", nargs="+", type=Path, default=[], help="train_log.jsonl files")
    parser.add_argument(
        "--table", type=Path, help="batch.csv, lengths.csv, peers.csv or compile.csv, for the figure of that name"
    )
    parser.add_argument("--sweep", default="{}", help='JSON: the grid to draw, {"layer": [6, 14], …}')
    parser.add_argument("--style", default="{}", help="JSON: width and height in inches, rcParams")
    parser.add_argument("--statistics", default="{}", help="JSON: resamples, confidence, seed, for histograms")
    parser.add_argument("--out-dir", type=Path, default=Path("paper_figures"), help="for NAME.pdf and NAME.png")


def run(args: argparse.Namespace) -> None:
    """Read, draw, write both files."""
    from selfdraft.commands.results import bootstrap_settings
    from selfdraft.figures import figure_module
    from selfdraft.figures.inputs import Inputs, checked_sweep, json_object
    from selfdraft.figures.style import applied, checked_style, save
    from selfdraft.provenance.figure_metadata import metadata

    style = checked_style(json_object(args.style, "--style"))
    sweep = checked_sweep(json_object(args.sweep, "--sweep"))
    chosen = bootstrap_settings(args.statistics, "--statistics")
    inputs = Inputs(args.results, args.acceptance, tuple(args.logs), args.table, sweep, style, chosen)
    module = figure_module(args.name)
    with applied(style):
        figure = module.draw(inputs)
        written = save(figure, args.name, args.out_dir, metadata(args.name, inputs.read))
    print(" ".join(map(str, written)))
