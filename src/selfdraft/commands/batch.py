"""`selfdraft batch`: vanilla and speculative decoding of the same batches, of several sizes."""

import argparse

from selfdraft.commands.capture import HELP_DATA, HELP_TARGET
from selfdraft.commands.drafters import add_points
from selfdraft.commands.options import add_dtype, add_place, add_policy
from selfdraft.threads import HELP as HELP_THREADS

DEFAULTS = {"batches": 8, "max_new_tokens": 48, "seed": 0}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", required=True, help=HELP_TARGET)
    parser.add_argument("--data", required=True, help=HELP_DATA)
    add_points(parser)
    add_policy(parser)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 4, 8, 16], help="batch sizes")
    parser.add_argument("--settings", default="{}", help="batches of each size, max_new_tokens and seed as JSON")
    add_dtype(parser, "both methods")
    parser.add_argument("--out", required=True, help="CSV file to write")
    add_place(parser, HELP_THREADS)


def run(args: argparse.Namespace) -> None:
    from selfdraft.commands.drafters import measured_points, point_list, ways
    from selfdraft.commands.settings import json_option, known_keys
    from selfdraft.decoding.policy import Policy
    from selfdraft.errors import StudyError
    from selfdraft.evaluation.batches import COLUMNS, batch_rows
    from selfdraft.evaluation.rows import write_rows
    from selfdraft.models.runtime import start
    from selfdraft.sequences import check_room, read_prompts
    from selfdraft.threads import free_threads

    settings = known_keys(json_option(args.settings, "--settings"), DEFAULTS, "batch")
    points = point_list(args.points, "--points")
    drafting, drafters = ways(args.drafting), json_option(args.drafters, "--drafters")
    policy = Policy.from_settings(args.policy, json_option(args.policy_settings, "--policy-settings"))
    prompts = read_prompts(args.data)
    for size in args.sizes:
        if not 1 <= size <= len(prompts):
            raise StudyError(f"--sizes: {size} is not between 1 and the {len(prompts)} prompts of {args.data}")
    threads, why = free_threads(args.threads)
    print(why, flush=True)
    target = start(args.target, args.dtype, args.device, threads)
    room = settings["max_new_tokens"] + max(point.gamma for point in points)
    check_room(prompts, room, target.config.max_positions, args.data)
    measured = measured_points(points, args.checkpoints, drafters, drafting, target, args.data)
    target.pack()
    sizes = sorted(set(args.sizes))
    run_settings = (settings["batches"], settings["max_new_tokens"], settings["seed"])
    write_rows(args.out, COLUMNS, batch_rows(target, measured, prompts, policy, sizes, *run_settings))
