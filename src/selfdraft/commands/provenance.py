"""`selfdraft provenance`: what made a figure, a table, a checkpoint or a folder."""

import argparse
from pathlib import Path

HELP = (
    "figure (PDF or PNG), CSV table, checkpoint, target, data or results folder, or a file in one of them "
    "(draft.safetensors, config.json, source.json, sources.json, provenance.json, …)"
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("file", metavar="FILE", type=Path, nargs="+", help=HELP)
    parser.add_argument(
        "--json", action="store_true", help="print JSON: an object, or a list of them for several files"
    )


def run(args: argparse.Namespace) -> None:
    """Look at each file, print."""
    import json

    from selfdraft.provenance.describe import describe
    from selfdraft.provenance.text import in_lines

    told = [describe(path) for path in args.file]
    if args.json:
        text = json.dumps(told if len(told) > 1 else told[0], indent=2, ensure_ascii=False)
    else:
        text = "\n\n".join("\n".join(in_lines(facts)) for facts in told)
    print(text, flush=True)
