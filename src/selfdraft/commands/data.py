"""`selfdraft data`: records of any shape as token sequences, split by origin, and prompts."""

import argparse
import os
import sys
from typing import Any


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the stage."""
    parser.add_argument("--name", required=True, help="name of the data")
    origin = parser.add_mutually_exclusive_group(required=True)
    origin.add_argument("--source", metavar="JSON", help='{"kind": "package" | "hub" | "path", …}')
    origin.add_argument("--mixture", metavar="JSON", help='{NAME: {"weight": 3, "shape": …, "source": {…}}, …}')
    parser.add_argument("--target", required=True, help="folder of the target, for tokenizer and chat template")
    parser.add_argument("--out-dir", required=True, help="folder to write")
    parser.add_argument(
        "--settings", required=True, metavar="JSON", help="the data section's other keys, its shape among them"
    )
    parser.add_argument("--cache-dir", default="results/cache", help="where downloads are kept")
    parser.add_argument("--threads", type=int, help="CPU threads of the tokenizer (default: all)")


def run(args: argparse.Namespace) -> None:
    """Build the data and say what was read, dropped and cut."""
    if args.threads:
        os.environ["RAYON_NUM_THREADS"] = str(args.threads)
    from selfdraft.commands.settings import json_option
    from selfdraft.sources.data_settings import only_part, parts_of, weights_of
    from selfdraft.sources.dataset import build_dataset
    from selfdraft.sources.mixture import shares

    given = json_option(args.settings, "--settings")
    if args.mixture:
        parts, settings = parts_of(json_option(args.mixture, "--mixture"), given)
    else:
        parts, settings = only_part(json_option(args.source, "--source"), given)
    summary = build_dataset(args.name, parts, args.target, args.out_dir, settings, args.cache_dir)
    if "parts" not in summary:
        report(args.name, summary, settings.prompts)
        return
    asked = shares(settings.prompts, weights_of(parts))
    for name, part in summary["parts"].items():
        report(f"{args.name}, {name} (weight {part['weight']:g})", part, asked[name])
    for split, counts in summary["splits"].items():
        print(f"{args.name}, {split}: {counts['tokens']:,} of {counts['budget']:,} tokens")


def report(name: str, part: dict[str, Any], prompts: int) -> None:
    """Print the counts of one part; what fell short of its budget goes to standard error."""
    dropped = ", ".join(f"{count:,} {reason}" for reason, count in part["dropped"].items()) or "none"
    print(f"data {name}: {part['read']:,} read, {part['kept']:,} kept; dropped: {dropped}")
    for split, counts in part["splits"].items():
        sequences = next(f"{counts[word]:,} {word}" for word in ("conversations", "sequences") if word in counts)
        print(
            f"  {split}: {sequences} of {counts['origins']:,} origins, "
            f"{counts['tokens']:,} tokens, {counts['answer_tokens']:,} of them to predict"
        )
        if counts["tokens"] < counts["budget"]:
            print(
                f"  {name}: {split}: {counts['tokens']:,} tokens is all there is; asked for {counts['budget']:,}",
                file=sys.stderr,
            )
    print(f"  prompts: {part['prompts']}")
    if part["prompts"] < prompts:
        print(f"  {name}: prompts: {part['prompts']} is all there are; asked for {prompts}", file=sys.stderr)
    if part["truncated"]["reason"]:
        cut = part["truncated"]
        print(f"  {name}: {cut['characters_lost']:,} characters could not be read: {cut['reason']}", file=sys.stderr)
