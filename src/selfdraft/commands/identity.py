"""`selfdraft identity`: is the greedy output vanilla's, and where bfloat16 parts ways, how near was a tie."""

import argparse

from selfdraft.commands.capture import HELP_DATA, HELP_TARGET
from selfdraft.commands.drafters import add_points
from selfdraft.commands.options import add_place

DEFAULTS = {"prompts": 100, "max_new_tokens": 128, "batch": 16}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", required=True, help=HELP_TARGET)
    parser.add_argument("--data", required=True, help=HELP_DATA)
    add_points(parser)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "auto"], help="number formats to compare in")
    parser.add_argument("--settings", default="{}", help="the config's `identity` section as JSON")
    parser.add_argument("--out", required=True, help="CSV file to write: a row per drafter, dtype and prompt")
    add_place(parser)


def run(args: argparse.Namespace) -> None:
    from collections.abc import Iterator
    from typing import Any

    from selfdraft.commands.drafters import measured_points, point_list, ways
    from selfdraft.commands.settings import json_option, known_keys
    from selfdraft.evaluation.identity import COLUMNS, identity_rows
    from selfdraft.evaluation.rows import write_rows
    from selfdraft.models.runtime import start
    from selfdraft.sequences import check_room, some_prompts

    settings = known_keys(json_option(args.settings, "--settings"), DEFAULTS, "identity")
    points = point_list(args.points, "--points")
    drafting, drafters = ways(args.drafting), json_option(args.drafters, "--drafters")
    prompts = some_prompts(args.data, settings["prompts"], "identity")

    def rows() -> Iterator[dict[str, Any]]:
        seen = set()
        for dtype in args.dtypes:
            target = start(args.target, dtype, args.device, args.threads)
            if target.dtype in seen:  # what auto stands for may be among the others
                continue
            seen.add(target.dtype)
            check_room(prompts, settings["max_new_tokens"], target.config.max_positions, args.data)
            measured = measured_points(points, args.checkpoints, drafters, drafting, target, args.data)
            target.pack()
            yield from identity_rows(target, measured, prompts, settings["max_new_tokens"], settings["batch"])

    write_rows(args.out, COLUMNS, rows())
