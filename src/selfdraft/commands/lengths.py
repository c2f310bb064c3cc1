"""`selfdraft lengths`: whole answers of several lengths, vanilla and speculative decoding of the same prompts."""

import argparse

from selfdraft.commands.capture import HELP_DATA, HELP_TARGET
from selfdraft.commands.drafters import add_points
from selfdraft.commands.options import add_dtype, add_place, add_policy
from selfdraft.threads import HELP as HELP_THREADS

DEFAULTS = {"samples": 8, "attempts": 3, "retime_minutes": 2.0, "seed": 0}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", required=True, help=HELP_TARGET)
    parser.add_argument("--data", required=True, help=HELP_DATA)
    add_points(parser)
    add_policy(parser)
    parser.add_argument("--lengths", type=int, nargs="+", default=[50, 100, 200], help="tokens of an answer, ascending")
    parser.add_argument("--settings", default="{}", help="samples, attempts, retime_minutes and seed as JSON")
    add_dtype(parser, "both methods")
    parser.add_argument("--out", required=True, help="CSV file to write: a row per run")
    add_place(parser, HELP_THREADS)


def run(args: argparse.Namespace) -> None:
    from selfdraft.commands.drafters import measured_points, point_list, ways
    from selfdraft.commands.settings import json_option, known_keys
    from selfdraft.decoding.policy import Policy
    from selfdraft.errors import StudyError
    from selfdraft.evaluation.lengths import COLUMNS, check_context, check_lengths, length_rows
    from selfdraft.evaluation.rows import write_rows
    from selfdraft.evaluation.speed import Patience, told_of
    from selfdraft.models.runtime import start
    from selfdraft.sequences import read_prompts
    from selfdraft.threads import free_threads

    check_lengths(args.lengths, "--lengths")
    settings = known_keys(json_option(args.settings, "--settings"), DEFAULTS, "lengths")
    points = point_list(args.points, "--points")
    drafting, drafters = ways(args.drafting), json_option(args.drafters, "--drafters")
    policy = Policy.from_settings(args.policy, json_option(args.policy_settings, "--policy-settings"))
    known, samples = read_prompts(args.data), settings["samples"]
    if samples > len(known):
        raise StudyError(f"lengths.samples: {samples} is more than the {len(known)} prompts of {args.data}")
    prompts = known[:samples]
    threads, why = free_threads(args.threads)
    print(why, flush=True)
    target = start(args.target, args.dtype, args.device, threads)
    slots = max(drafting[point.drafting].slots(point.gamma) for point in points)
    check_context(prompts, args.lengths[-1], slots, target.config.max_positions, "--lengths")
    measured = measured_points(points, args.checkpoints, drafters, drafting, target, args.data)
    target.pack()
    patience = Patience(settings["attempts"], settings["retime_minutes"])
    rows = list(length_rows(target, measured, prompts, policy, args.lengths, settings["seed"], patience))
    write_rows(args.out, COLUMNS, rows)
    print(f"{args.out}: {told_of(rows)}")
