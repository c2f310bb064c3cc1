"""`selfdraft acceptance`: accepted draft tokens of one checkpoint under one policy and gamma."""

import argparse

from selfdraft.commands.capture import HELP_DATA, HELP_TARGET
from selfdraft.commands.drafters import HELP_DRAFTERS
from selfdraft.evaluation.shards import HELP as HELP_SHARD

# prompts: 0 stands for all that the data has
DEFAULTS = {"dtype": "float32", "prompts": 0, "max_new_tokens": 64, "batch": 8, "seed": 0}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", required=True, help=HELP_TARGET)
    parser.add_argument("--data", required=True, help=HELP_DATA)
    parser.add_argument("--checkpoint", help="folder made by `selfdraft train`")
    parser.add_argument("--drafter", help="instead of a checkpoint: the name of one of --drafters")
    parser.add_argument("--drafters", default="{}", help=HELP_DRAFTERS)
    parser.add_argument("--drafting", default="{}", help='the way of drafting, as JSON: {"vocabulary": 8192}')
    parser.add_argument("--trained-on", help="data that a trimmed vocabulary is counted on (default: --data)")
    parser.add_argument("--gamma", required=True, type=int, help="tokens drafted per cycle")
    parser.add_argument("--policy", required=True, help="the policy's name")
    parser.add_argument("--policy-settings", required=True, help="temperature, top_p, top_k as JSON")
    parser.add_argument("--settings", default="{}", help="the config's `acceptance` section as JSON")
    parser.add_argument(
        "--vanilla", help="file made by `selfdraft vanilla`; without it greedy answers are decoded anew"
    )
    parser.add_argument("--shard", default="1/1", help=HELP_SHARD)
    parser.add_argument("--out", required=True, help="CSV file to write")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto: cuda where there is one")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's own choice)")


def run(args: argparse.Namespace) -> None:
    from pathlib import Path

    from selfdraft.commands.drafters import PointOption, measured_points
    from selfdraft.commands.settings import json_option, known_keys
    from selfdraft.decoding.drafting import Drafting
    from selfdraft.decoding.policy import Policy
    from selfdraft.errors import StudyError
    from selfdraft.evaluation.acceptance import COLUMNS, acceptance_rows
    from selfdraft.evaluation.answers import by_length, greedy_answers, read_answers
    from selfdraft.evaluation.rows import write_rows
    from selfdraft.evaluation.shards import Shard
    from selfdraft.models.runtime import start
    from selfdraft.sequences import check_room, some_prompts
    from selfdraft.sources.chat import ChatTokenizer

    shard = Shard.from_text(args.shard)
    settings = known_keys(json_option(args.settings, "--settings"), DEFAULTS, "acceptance")
    policy = Policy.from_settings(args.policy, json_option(args.policy_settings, "--policy-settings"))
    way = json_option(args.drafting, "--drafting")
    drafting = Drafting.from_settings(way.pop("name", "fixed"), way)
    if bool(args.checkpoint) == bool(args.drafter):
        raise StudyError("--checkpoint, --drafter: one of them says what drafts; give that one")
    if args.gamma < 1:
        raise StudyError(f"--gamma: {args.gamma} is not ≥ 1")
    prompts = some_prompts(args.data, settings["prompts"], "acceptance")
    target = start(args.target, settings["dtype"], args.device, args.threads)
    check_room(prompts, settings["max_new_tokens"], target.config.max_positions, args.data)
    name = Path(args.checkpoint).name if args.checkpoint else args.drafter
    (point,) = measured_points(
        [PointOption(name, args.gamma, drafting.name)],
        [args.checkpoint] if args.checkpoint else [],
        json_option(args.drafters, "--drafters"),
        {drafting.name: drafting},
        target,
        args.data,
        args.trained_on,
    )
    target.pack()
    eos_ids = frozenset(ChatTokenizer.from_folder(args.target).eos_ids)
    truth = None
    if policy.greedy and settings["dtype"] == "float32":  # identity is defined in float32
        length = settings["max_new_tokens"]
        if args.vanilla:
            truth = read_answers(args.vanilla, target, length, prompts)
        else:
            groups = shard.of(by_length(prompts, settings["batch"]))
            truth = greedy_answers(
                target, [prompt for group in groups for prompt in group], length, settings["batch"], eos_ids
            )
    rows = acceptance_rows(
        target,
        point.drafter,
        prompts,
        policy,
        args.gamma,
        settings["max_new_tokens"],
        settings["batch"],
        settings["seed"],
        eos_ids,
        truth,
        shard,
    )
    fixed = point.settings | {"policy": args.policy, "dtype": settings["dtype"]}
    write_rows(args.out, COLUMNS, ({**fixed, **row} for row in rows))
