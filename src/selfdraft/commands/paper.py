"""`selfdraft paper`: set the paper from its text, the numbers of `paper-numbers` and the figures."""

import argparse
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the stage."""
    parser.add_argument("--text", type=Path, default=Path("paper"), help="folder of paper.typ")
    parser.add_argument("--numbers", type=Path, default=Path("results/paper"), help="folder of numbers.json")
    parser.add_argument("--figures", nargs="*", type=Path, default=[], help="PDF figures, known by their names")
    parser.add_argument("--out", type=Path, default=Path("paper_figures/paper.pdf"), help="PDF file to write")


def run(args: argparse.Namespace) -> None:
    """Gather, compile, write."""
    from selfdraft.paper.typeset import typeset

    typeset(args.text, args.numbers, args.figures, args.out)
    print(args.out)
