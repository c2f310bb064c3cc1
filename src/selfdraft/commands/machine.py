"""`selfdraft machine`: measure the machine once."""

import argparse

from selfdraft.commands.options import add_place


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, help="JSON file to write")
    add_place(parser)


def run(args: argparse.Namespace) -> None:
    import torch

    from selfdraft.evaluation.machine import measure
    from selfdraft.files import write_json
    from selfdraft.models.runtime import resolve_device

    if args.threads:
        torch.set_num_threads(args.threads)
    write_json(args.out, measure(resolve_device(args.device)))
