"""`selfdraft vanilla`: greedy answers of the target alone, to compare drafts' answers with."""

import argparse

from selfdraft.commands.capture import HELP_DATA, HELP_TARGET
from selfdraft.commands.options import add_place


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", required=True, help=HELP_TARGET)
    parser.add_argument("--data", required=True, help=HELP_DATA)
    parser.add_argument("--settings", default="{}", help="the config's `acceptance` section as JSON")
    parser.add_argument("--out", required=True, help="JSON file to write")
    add_place(parser)


def run(args: argparse.Namespace) -> None:
    from selfdraft.commands.acceptance import DEFAULTS
    from selfdraft.commands.settings import json_option, known_keys
    from selfdraft.evaluation.answers import greedy_answers, write_answers
    from selfdraft.models.runtime import start
    from selfdraft.sequences import check_room, some_prompts
    from selfdraft.sources.chat import ChatTokenizer

    settings = known_keys(json_option(args.settings, "--settings"), DEFAULTS, "acceptance")
    prompts = some_prompts(args.data, settings["prompts"], "acceptance")
    target = start(args.target, settings["dtype"], args.device, args.threads).pack()
    new_tokens = settings["max_new_tokens"]
    check_room(prompts, new_tokens, target.config.max_positions, args.data)
    eos_ids = frozenset(ChatTokenizer.from_folder(args.target).eos_ids)
    write_answers(args.out, target, new_tokens, greedy_answers(target, prompts, new_tokens, settings["batch"], eos_ids))
