"""`selfdraft regenerate`: the target's own answers to the questions of a data set, with its states, to train on."""

import argparse

from selfdraft.commands.capture import HELP_DATA, HELP_TARGET
from selfdraft.commands.options import add_dtype, add_origin, add_place, add_policy
from selfdraft.errors import StudyError

DEFAULTS = {"max_new_tokens": 128, "batch": 32, "seed": 0}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", required=True, help=HELP_TARGET)
    parser.add_argument("--data", required=True, help=f"{HELP_DATA}: the questions, turn by turn")
    parser.add_argument("--depths", required=True, type=int, nargs="+", help="depths whose states are kept")
    add_policy(parser)
    parser.add_argument("--settings", default="{}", help=f"JSON of {', '.join(DEFAULTS)}")
    parser.add_argument("--length", type=int, default=512, help="tokens of a conversation at most")
    parser.add_argument("--parts-dir", required=True, help="where batches of answers are kept until all are there")
    parser.add_argument("--out-dir", required=True, help="folder to write: data and captured states in one")
    add_dtype(parser, "the target")
    add_origin(parser)
    add_place(parser)


def run(args: argparse.Namespace) -> None:
    from selfdraft.answers.keeping import SPLITS, How, regenerate
    from selfdraft.commands.settings import json_option, known_keys
    from selfdraft.decoding.policy import Policy
    from selfdraft.models.runtime import start
    from selfdraft.sequences import read_counts, read_sequences
    from selfdraft.sources.chat import ChatTokenizer

    settings = known_keys(json_option(args.settings, "--settings"), DEFAULTS, "answers")
    policy = Policy.from_settings(args.policy, json_option(args.policy_settings, "--policy-settings"))
    target = start(args.target, args.dtype, args.device, args.threads).pack()
    if not 1 <= args.length <= target.config.max_positions:
        raise StudyError(f"--length: {args.length} is not in the target's context, 1…{target.config.max_positions}")
    for depth in args.depths:
        if not 0 <= depth <= target.config.n_layers:
            raise StudyError(f"--depths: {depth} is not one of the target's (0…{target.config.n_layers})")
    questions = {split: read_sequences(args.data, split) for split in SPLITS}
    how = How(
        policy,
        settings["max_new_tokens"],
        args.length,
        settings["batch"],
        settings["seed"],
        frozenset(ChatTokenizer.from_folder(args.target).eos_ids),
    )
    counts = read_counts(args.data, target.config.vocab_size)
    origin = {"commit": args.commit, "config_hash": args.config_hash}
    summary = regenerate(target, questions, counts, args.depths, how, args.parts_dir, args.out_dir, origin)
    for split, made in summary["splits"].items():
        print(
            f"{split}: {made['kept']:,} of {made['asked']:,} conversations, {made['turns']:,} answers "
            f"({made['ended']:,} ended by the target), {made['labels']:,} answer tokens of {made['tokens']:,}"
        )
