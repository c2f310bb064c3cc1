"""`selfdraft peers`: the same methods in selfdraft, transformers and economize, a row per group of prompts."""

import argparse

from selfdraft.commands.capture import HELP_DATA, HELP_TARGET
from selfdraft.commands.options import add_place
from selfdraft.threads import HELP as HELP_THREADS

DEFAULTS = {"prompts": 8, "groups": 8, "max_new_tokens": 128, "layer": 0, "gamma": 4, "max_ngram": 2, "seed": 0}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", required=True, help=HELP_TARGET)
    parser.add_argument("--data", required=True, help=HELP_DATA)
    parser.add_argument("--settings", default="{}", help="the config's `peers` section as JSON")
    parser.add_argument("--dtypes", nargs="+", default=["auto"], help="number formats, one after the other")
    parser.add_argument("--batches", type=int, nargs="+", default=[1], help="batch sizes, one after the other")
    parser.add_argument("--draft-model", help="folder of a smaller model with the same tokenizer (left out: none)")
    parser.add_argument("--out", required=True, help="CSV file to write")
    add_place(parser, HELP_THREADS)


def run(args: argparse.Namespace) -> None:
    import sys
    from collections.abc import Iterator
    from importlib.util import find_spec
    from typing import Any

    from selfdraft import __version__
    from selfdraft.commands.settings import json_option, known_keys
    from selfdraft.decoding.drafter import Drafter
    from selfdraft.drafters.exit import ExitDrafter
    from selfdraft.drafters.lookup import LookupDrafter
    from selfdraft.drafters.model import ModelDrafter
    from selfdraft.errors import StudyError
    from selfdraft.evaluation.number_format import number_format
    from selfdraft.evaluation.peer_timing import COLUMNS, Setting, contest_rows, of_economize, of_transformers, own
    from selfdraft.evaluation.rows import write_rows
    from selfdraft.models.exit import untrained_exit
    from selfdraft.models.llama import load_target
    from selfdraft.models.runtime import start
    from selfdraft.models.vocabulary import check_same_tokens
    from selfdraft.sequences import check_room, some_prompts
    from selfdraft.sources.reference import load_baseline
    from selfdraft.threads import free_threads

    settings = known_keys(json_option(args.settings, "--settings"), DEFAULTS, "peers")
    prompts = some_prompts(args.data, settings["prompts"], "peers")
    if max(args.batches) > len(prompts):
        raise StudyError(f"--batches: {max(args.batches)} is more than the {len(prompts)} prompts asked for")
    if find_spec("economize") is None:
        print("economize is not installed (pip install 'selfdraft[peers]'): its rows are left out", file=sys.stderr)
    threads, why = free_threads(args.threads)
    print(why, flush=True)
    setting = Setting(settings["layer"], settings["gamma"], settings["max_ngram"])

    def rows() -> Iterator[dict[str, Any]]:
        for dtype in args.dtypes:
            target = start(args.target, dtype, args.device, threads)
            check_room(prompts, settings["max_new_tokens"] + setting.gamma, target.config.max_positions, args.data)
            drafters: dict[str, Drafter] = {
                "early exit": ExitDrafter(target, untrained_exit(target, setting.layer, "head")),
                "prompt lookup": LookupDrafter(setting.max_ngram),
            }
            theirs = None
            if args.draft_model:
                check_same_tokens(args.target, args.draft_model, "--draft-model")
                smaller = load_target(args.draft_model, target.dtype, target.device)
                drafters["draft model"] = ModelDrafter(target, smaller)
                smaller.pack()
                theirs = load_baseline(args.draft_model, target.dtype).to(target.device)
                if smaller.config.vocab_size != target.config.vocab_size:  # it asks for as many rows in both
                    theirs.resize_token_embeddings(target.config.vocab_size, mean_resizing=False)
            target.pack()
            stock = load_baseline(args.target, target.dtype).to(target.device)
            contestants = own(target, drafters, setting.gamma, __version__)
            contestants += of_transformers(stock, setting, theirs)
            contestants += of_economize(stock, setting, args.draft_model)
            fixed = {"dtype": number_format(target), "device": target.device.type}
            fixed |= {name: settings[name] for name in ("gamma", "layer", "max_ngram")}
            for batch in args.batches:
                yield from contest_rows(
                    contestants,
                    prompts,
                    batch,
                    settings["groups"],
                    settings["max_new_tokens"],
                    settings["seed"],
                    fixed,
                )

    write_rows(args.out, COLUMNS, rows())
