"""`selfdraft machine`: measure the machine once."""

import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, help="JSON file to write")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto: cuda where there is one")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's own choice)")


def run(args: argparse.Namespace) -> None:
    import torch

    from selfdraft.evaluation.machine import measure
    from selfdraft.files import write_json
    from selfdraft.models.runtime import resolve_device

    if args.threads:
        torch.set_num_threads(args.threads)
    write_json(args.out, measure(resolve_device(args.device)))
