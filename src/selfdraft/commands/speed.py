"""`selfdraft speed`: decode times of many points under one policy, beside vanilla and transformers."""

import argparse

from selfdraft.commands.capture import HELP_DATA, HELP_TARGET

DEFAULTS = {"prompts": 10, "max_new_tokens": 48, "repeats": 1, "seed": 0}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", required=True, help=HELP_TARGET)
    parser.add_argument("--data", required=True, help=HELP_DATA)
    parser.add_argument("--checkpoints", required=True, nargs="+", help="folders made by `selfdraft train`")
    parser.add_argument("--points", required=True, help="JSON list of [checkpoint folder's name, gamma]")
    parser.add_argument("--policy", required=True, help="the policy's name")
    parser.add_argument("--policy-settings", required=True, help="temperature, top_p, top_k as JSON")
    parser.add_argument("--settings", default="{}", help="the config's `speed` section as JSON")
    parser.add_argument("--out", required=True, help="CSV file to write")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"), help="of all methods")
    parser.add_argument("--no-transformers", action="store_true", help="leave out transformers' generate")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto: cuda where there is one")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's own choice)")


def run(args: argparse.Namespace) -> None:
    from pathlib import Path

    from selfdraft.commands.settings import json_option, known_keys, point_list
    from selfdraft.decoding.exit_drafter import ExitDrafter
    from selfdraft.decoding.policy import Policy
    from selfdraft.errors import StudyError
    from selfdraft.evaluation.peers import TransformersPeer
    from selfdraft.evaluation.rows import checkpoint_settings, write_rows
    from selfdraft.evaluation.speed import COLUMNS, speed_rows
    from selfdraft.models.exit import load_exit
    from selfdraft.models.runtime import start
    from selfdraft.sequences import check_room, read_name, read_prompts

    settings = known_keys(json_option(args.settings, "--settings"), DEFAULTS, "speed")
    points = point_list(args.points, "--points")
    policy = Policy.from_settings(args.policy, json_option(args.policy_settings, "--policy-settings"))
    prompts = read_prompts(args.data)
    if settings["prompts"] > len(prompts):
        raise StudyError(f"speed.prompts: {settings['prompts']} asked, {args.data}/prompts.json has {len(prompts)}")
    target = start(args.target, args.dtype, args.device, args.threads)
    room = settings["max_new_tokens"] + max(gamma for _, gamma in points)
    check_room(prompts[: settings["prompts"]], room, target.config.max_positions, args.data)
    dataset = read_name(args.data)
    loaded = {}
    for folder in args.checkpoints:
        draft, config = load_exit(folder, target)
        loaded[Path(folder).name] = (ExitDrafter(target, draft), checkpoint_settings(config) | {"dataset": dataset})
        draft.pack()
    missing = sorted({name for name, _ in points} - set(loaded))
    if missing:
        raise StudyError(f"--points: {missing[0]} is not among --checkpoints")
    target.pack()
    peer = None if args.no_transformers else TransformersPeer(args.target, target.dtype, str(target.device))
    rows = speed_rows(
        target,
        [(loaded[name][0], gamma, loaded[name][1]) for name, gamma in points],
        peer,
        prompts[: settings["prompts"]],
        policy,
        settings["max_new_tokens"],
        settings["repeats"],
        settings["seed"],
    )
    write_rows(args.out, COLUMNS, rows)
