"""`selfdraft speed`: decode times of many points under one policy, beside vanilla and transformers."""

import argparse

from selfdraft.commands.capture import HELP_DATA, HELP_TARGET
from selfdraft.commands.drafters import HELP_COUNTED, add_points
from selfdraft.commands.options import add_dtype, add_place, add_policy
from selfdraft.evaluation.shards import HELP as HELP_SHARD
from selfdraft.threads import HELP as HELP_THREADS

DEFAULTS = {
    "prompts": 16,
    "max_new_tokens": 8,
    "repeats": 2,
    "attempts": 3,
    "retime_minutes": 2.0,
    "strict": False,
    "seed": 0,
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", required=True, help=HELP_TARGET)
    parser.add_argument("--data", required=True, help=HELP_DATA)
    parser.add_argument("--trained-on", help=HELP_COUNTED)
    add_points(parser)
    add_policy(parser)
    parser.add_argument("--settings", default="{}", help="the config's `speed` section as JSON")
    parser.add_argument("--shard", default="1/1", help=HELP_SHARD)
    parser.add_argument("--out", required=True, help="CSV file to write")
    add_dtype(parser, "all methods")
    parser.add_argument("--no-transformers", action="store_true", help="leave out transformers' generate")
    add_place(parser, HELP_THREADS)


def run(args: argparse.Namespace) -> None:
    from functools import partial

    from selfdraft.commands.drafters import measured_points, point_list, ways
    from selfdraft.commands.settings import json_option, known_keys
    from selfdraft.decoding.policy import Policy
    from selfdraft.errors import StudyError
    from selfdraft.evaluation.peers import TransformersPeer
    from selfdraft.evaluation.rows import write_rows
    from selfdraft.evaluation.shards import Shard
    from selfdraft.evaluation.speed import COLUMNS, Patience, speed_rows, told_of
    from selfdraft.models.runtime import start
    from selfdraft.sequences import check_room, some_prompts
    from selfdraft.threads import free_threads

    shard = Shard.from_text(args.shard)
    settings = known_keys(json_option(args.settings, "--settings"), DEFAULTS, "speed")
    points = point_list(args.points, "--points")
    drafting, drafters = ways(args.drafting), json_option(args.drafters, "--drafters")
    policy = Policy.from_settings(args.policy, json_option(args.policy_settings, "--policy-settings"))
    prompts = some_prompts(args.data, settings["prompts"], "speed")
    mine = shard.of(prompts)
    if not mine:  # more parts than prompts
        write_rows(args.out, COLUMNS, [])
        return
    threads, why = free_threads(args.threads)
    print(why, flush=True)
    target = start(args.target, args.dtype, args.device, threads)
    room = (settings["repeats"] + 1) * settings["max_new_tokens"] + max(point.gamma for point in points)
    check_room(prompts, room, target.config.max_positions, args.data)
    measured = measured_points(points, args.checkpoints, drafters, drafting, target, args.data, args.trained_on)
    target.pack()
    peer = None if args.no_transformers else TransformersPeer(args.target, target.dtype, str(target.device))
    patience = Patience(settings["attempts"], settings["retime_minutes"])
    new, repeats, seed = (settings[name] for name in ("max_new_tokens", "repeats", "seed"))
    say = partial(print, flush=True)
    rows = list(speed_rows(target, measured, peer, mine, policy, new, repeats, seed, patience, say))
    told = told_of(rows)
    if settings["strict"] and any(row["disturbed"] for row in rows):
        raise StudyError(f"speed.strict: {told}; run it again on a quiet machine, or set strict to false")
    # prompt by prompt, whatever the order in which repeats were timed: so the tables of the parts join to the whole
    place = {prompt.id: number for number, prompt in enumerate(prompts)}
    write_rows(args.out, COLUMNS, sorted(rows, key=lambda row: (place[row["prompt"]], row["repeat"])))
    print(f"{args.out}: {told}")
