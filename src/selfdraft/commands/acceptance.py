"""`selfdraft acceptance`: accepted draft tokens of one checkpoint under one policy and gamma."""

import argparse

from selfdraft.commands.capture import HELP_DATA, HELP_TARGET

DEFAULTS = {"dtype": "float32", "max_new_tokens": 64, "batch": 8, "seed": 0}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", required=True, help=HELP_TARGET)
    parser.add_argument("--data", required=True, help=HELP_DATA)
    parser.add_argument("--checkpoint", required=True, help="folder made by `selfdraft train`")
    parser.add_argument("--gamma", required=True, type=int, help="tokens drafted per cycle")
    parser.add_argument("--policy", required=True, help="the policy's name")
    parser.add_argument("--policy-settings", required=True, help="temperature, top_p, top_k as JSON")
    parser.add_argument("--settings", default="{}", help="the config's `acceptance` section as JSON")
    parser.add_argument("--out", required=True, help="CSV file to write")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto: cuda where there is one")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's own choice)")


def run(args: argparse.Namespace) -> None:
    from selfdraft.commands.settings import json_option, known_keys
    from selfdraft.decoding.exit_drafter import ExitDrafter
    from selfdraft.decoding.policy import Policy
    from selfdraft.evaluation.acceptance import COLUMNS, acceptance_rows
    from selfdraft.evaluation.rows import checkpoint_settings, write_rows
    from selfdraft.models.exit import load_exit
    from selfdraft.models.runtime import start
    from selfdraft.sequences import check_room, read_name, read_prompts
    from selfdraft.sources.chat import ChatTokenizer

    settings = known_keys(json_option(args.settings, "--settings"), DEFAULTS, "acceptance")
    policy = Policy.from_settings(args.policy, json_option(args.policy_settings, "--policy-settings"))
    target = start(args.target, settings["dtype"], args.device, args.threads)
    draft, config = load_exit(args.checkpoint, target)
    drafter = ExitDrafter(target, draft)
    target.pack()
    draft.pack()
    prompts = read_prompts(args.data)
    check_room(prompts, settings["max_new_tokens"] + args.gamma, target.config.max_positions, args.data)
    rows = acceptance_rows(
        target,
        drafter,
        prompts,
        policy,
        args.gamma,
        settings["max_new_tokens"],
        settings["batch"],
        settings["seed"],
        frozenset(ChatTokenizer.from_folder(args.target).eos_ids),
    )
    fixed = checkpoint_settings(config)
    fixed |= {"policy": args.policy, "gamma": args.gamma, "dtype": settings["dtype"]}
    fixed["dataset"] = read_name(args.data)
    write_rows(args.out, COLUMNS, ({**fixed, **row} for row in rows))
