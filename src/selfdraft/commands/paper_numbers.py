"""`selfdraft paper-numbers`: what the paper says of a study, as sentences and tables, from the study's tables alone."""

import argparse
from pathlib import Path

BESIDE = ("differences", "seed_spread", "batch", "peers", "identity", "compile")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the stage."""
    parser.add_argument("--results", type=Path, required=True, help="results.csv")
    for name in BESIDE:
        parser.add_argument(f"--{name.replace('_', '-')}", type=Path, help=f"{name}.csv, if the study has it")
    parser.add_argument("--provenance", type=Path, help="provenance.json: the settings and the machine")
    parser.add_argument("--out-dir", type=Path, default=Path("results/paper"), help="for numbers.json and the tables")


def run(args: argparse.Namespace) -> None:
    """Read, choose, write."""
    from selfdraft.paper.measured import read_study
    from selfdraft.paper.written import write_numbers

    beside = {name: getattr(args, name) for name in BESIDE if getattr(args, name) is not None}
    said = write_numbers(args.out_dir, read_study(args.results, beside, args.provenance))
    empty = [name for name, table in said["tables"].items() if not table["rows"]]
    without = f"; nothing to say in {', '.join(empty)}" if empty else ""
    print(f"{args.out_dir}: {len(said['sentences'])} sentences, {len(said['tables'])} tables{without}")
