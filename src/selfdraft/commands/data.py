"""`selfdraft data`: conversations as token sequences, split by origin, and prompts."""

import argparse
import os
import sys
from typing import Any


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the stage."""
    parser.add_argument("--name", required=True, help="name of the data")
    parser.add_argument("--source", required=True, metavar="JSON", help='{"kind": "package" | "hub" | "path", …}')
    parser.add_argument("--target", required=True, help="folder of the target, for tokenizer and chat template")
    parser.add_argument("--out-dir", required=True, help="folder to write")
    parser.add_argument("--settings", required=True, metavar="JSON", help="the data section's other keys")
    parser.add_argument("--cache-dir", default="results/cache", help="where downloads are kept")
    parser.add_argument("--threads", type=int, help="CPU threads of the tokenizer (default: all)")


def run(args: argparse.Namespace) -> None:
    """Build the data and say what was read, dropped and cut."""
    if args.threads:
        os.environ["RAYON_NUM_THREADS"] = str(args.threads)
    from selfdraft.commands.settings import json_option
    from selfdraft.sources.dataset import DataSettings, build_dataset

    settings = DataSettings.from_mapping(json_option(args.settings, "--settings"))
    source = json_option(args.source, "--source")
    summary = build_dataset(args.name, source, args.target, args.out_dir, settings, args.cache_dir)
    report(summary, settings.prompts)


def report(summary: dict[str, Any], prompts: int) -> None:
    """Print the counts; what fell short of its budget goes to standard error."""
    dropped = ", ".join(f"{count:,} {reason}" for reason, count in summary["dropped"].items()) or "none"
    print(f"data {summary['name']}: {summary['read']:,} read, {summary['kept']:,} kept; dropped: {dropped}")
    for split, counts in summary["splits"].items():
        print(
            f"  {split}: {counts['conversations']:,} conversations of {counts['origins']:,} origins, "
            f"{counts['tokens']:,} tokens, {counts['answer_tokens']:,} of answers"
        )
        if counts["tokens"] < counts["budget"]:
            print(
                f"  {split}: {counts['tokens']:,} tokens is all there is; asked for {counts['budget']:,}",
                file=sys.stderr,
            )
    print(f"  prompts: {summary['prompts']}")
    if summary["prompts"] < prompts:
        print(f"  prompts: {summary['prompts']} is all there are; asked for {prompts}", file=sys.stderr)
    if summary["truncated"]["characters_lost"]:
        cut = summary["truncated"]
        print(f"  {cut['characters_lost']:,} characters could not be read: {cut['reason']}", file=sys.stderr)
