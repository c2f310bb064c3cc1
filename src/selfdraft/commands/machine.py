"""`selfdraft machine`: measure the machine once; with --steps, how long the steps of decoding take on it."""

import argparse
from importlib import import_module

from selfdraft.commands.options import add_dtype, add_place

WIDTHS = [1, 3, 7, 15, 31]  # gammas whose verifications are of 2, 4, 8, 16 and 32 tokens; one token is always timed


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, help="JSON file to write")
    parser.add_argument("--steps", action="store_true", help="time steps of decoding, for `selfdraft predict`")
    parser.add_argument("--target", help="with --steps: folder made by `selfdraft target` (default: the only one)")
    parser.add_argument(
        "--acceptance", default="results/acceptance.csv", help="with --steps: table that names the drafts and policies"
    )
    parser.add_argument("--gammas", type=int, nargs="+", default=WIDTHS, help="with --steps: lengths of the drafts")
    parser.add_argument("--contexts", type=int, nargs="+", default=[80, 260], help="with --steps: tokens in the cache")
    parser.add_argument("--rounds", type=int, default=5, help="with --steps: how often each step is timed")
    parser.add_argument(
        "--policies",
        default='{"greedy": {}}',
        help="with --steps: settings of the table's policies by name, as JSON; others are left out",
    )
    add_dtype(parser, "the steps")
    add_place(parser)


def run(args: argparse.Namespace) -> None:
    import torch

    from selfdraft.evaluation.machine import measure
    from selfdraft.files import write_json
    from selfdraft.models.runtime import resolve_device

    if args.steps:
        # not by a plain import: the rule `machine` does not run again for what drafts
        write_json(args.out, import_module("selfdraft.commands.machine_steps").timed_steps(args))
        return
    if args.threads:
        torch.set_num_threads(args.threads)
    write_json(args.out, measure(resolve_device(args.device)))
