"""`selfdraft steps`: seconds of single decoding steps by context, under one policy."""

import argparse

from selfdraft.commands.capture import HELP_DATA, HELP_TARGET
from selfdraft.commands.drafters import add_points
from selfdraft.commands.options import add_dtype, add_place, add_policy
from selfdraft.threads import HELP as HELP_THREADS

DEFAULTS = {"contexts": [80, 260], "rounds": 5, "seed": 0}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", required=True, help=HELP_TARGET)
    parser.add_argument("--data", required=True, help=HELP_DATA)
    add_points(parser)
    add_policy(parser)
    parser.add_argument("--settings", default="{}", help="the config's `steps` section as JSON")
    parser.add_argument("--out", required=True, help="CSV file to write")
    add_dtype(parser, "all steps")
    add_place(parser, HELP_THREADS)


def run(args: argparse.Namespace) -> None:
    from selfdraft.commands.drafters import measured_points, point_list, ways
    from selfdraft.commands.settings import json_option, known_keys
    from selfdraft.decoding.drafter import widest
    from selfdraft.decoding.policy import Policy
    from selfdraft.errors import StudyError
    from selfdraft.evaluation.rows import write_rows
    from selfdraft.evaluation.steps import COLUMNS, room_of, step_rows
    from selfdraft.models.runtime import start
    from selfdraft.sequences import read_prompts
    from selfdraft.threads import free_threads

    settings = known_keys(json_option(args.settings, "--settings"), DEFAULTS, "steps")
    points = point_list(args.points, "--points")
    drafting = {name: way.of_full_length() for name, way in ways(args.drafting).items()}
    drafters = json_option(args.drafters, "--drafters")
    policy = Policy.from_settings(args.policy, json_option(args.policy_settings, "--policy-settings"))
    threads, why = free_threads(args.threads)
    print(why, flush=True)
    target = start(args.target, args.dtype, args.device, threads)
    measured = measured_points(points, args.checkpoints, drafters, drafting, target, args.data)
    room = max(room_of(gamma, widest(drafter, gamma)) for drafter, gamma, _ in measured)
    longest = max(settings["contexts"])
    if longest + room > target.config.max_positions:
        raise StudyError(
            f"steps.contexts: {longest} and {room} tokens behind it do not fit into the target's context of "
            f"{target.config.max_positions}"
        )
    target.pack()
    text = [token for prompt in read_prompts(args.data) for token in prompt.tokens]
    rows = step_rows(target, measured, text, policy, settings["contexts"], settings["rounds"], settings["seed"])
    write_rows(args.out, COLUMNS, rows)
