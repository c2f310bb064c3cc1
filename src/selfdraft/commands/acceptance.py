"""`selfdraft acceptance`: accepted draft tokens of several points, measured by one process."""

import argparse
from typing import TYPE_CHECKING, Any

from selfdraft.commands.capture import HELP_DATA, HELP_TARGET
from selfdraft.commands.drafters import HELP_COUNTED, HELP_DRAFTERS, HELP_DRAFTING
from selfdraft.evaluation.kept import HELP_CODE, HELP_KEPT
from selfdraft.evaluation.shards import HELP as HELP_SHARD

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from selfdraft.commands.drafters import PointOption
    from selfdraft.evaluation.shards import Shard

# prompts: 0 stands for all that the data has
DEFAULTS = {"dtype": "float32", "prompts": 0, "max_new_tokens": 64, "batch": 8, "seed": 0}
HELP_POINTS = 'points by policy, as JSON: {"greedy": [["layer6_T1.0_head", 4], ["lookup", 4, "fixed"]]}'
HELP_POLICIES = 'settings of the policies by name, as JSON: {"greedy": {"temperature": 0.0}}'


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", required=True, help=HELP_TARGET)
    parser.add_argument("--data", required=True, help=HELP_DATA)
    parser.add_argument(
        "--checkpoints", nargs="*", default=[], help="folders made by `selfdraft train`, or hub:OWNER/NAME@COMMIT"
    )
    parser.add_argument("--drafters", default="{}", help=HELP_DRAFTERS)
    parser.add_argument("--drafting", default="{}", help=HELP_DRAFTING)
    parser.add_argument("--trained-on", help=HELP_COUNTED)
    parser.add_argument("--points", required=True, help=HELP_POINTS)
    parser.add_argument("--policies", required=True, help=HELP_POLICIES)
    parser.add_argument("--settings", default="{}", help="the config's `acceptance` section as JSON")
    parser.add_argument(
        "--vanilla", help="file made by `selfdraft vanilla`; without it greedy answers are decoded anew"
    )
    parser.add_argument("--shard", default="1/1", help=HELP_SHARD)
    parser.add_argument("--kept-dir", help=HELP_KEPT)
    parser.add_argument("--code", help=HELP_CODE)
    parser.add_argument("--out", required=True, help="CSV file to write")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto: cuda where there is one")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's own choice)")


def points_by_policy(text: str) -> list[tuple[str, "PointOption"]]:
    """`--points`: (policy, point) in the order given. Raises StudyError for what is no point."""
    import json

    from selfdraft.commands.drafters import point_list
    from selfdraft.commands.settings import json_option
    from selfdraft.errors import StudyError

    found = {
        (policy, point): None
        for policy, points in json_option(text, "--points").items()
        for point in point_list(json.dumps(points), "--points")
    }
    if not found:
        raise StudyError("--points: no point to measure")
    return list(found)


def run(args: argparse.Namespace) -> None:
    from dataclasses import asdict
    from pathlib import Path

    import torch

    from selfdraft.commands.drafters import measured_points, ways
    from selfdraft.commands.settings import json_option, known_keys
    from selfdraft.decoding.policy import Policy
    from selfdraft.drafters import files_of
    from selfdraft.errors import StudyError
    from selfdraft.evaluation.acceptance import COLUMNS, Prefills, acceptance_rows
    from selfdraft.evaluation.answers import Answers, by_length, greedy_answers, read_answers
    from selfdraft.evaluation.kept import Kept, digest, draft_identity
    from selfdraft.evaluation.number_format import number_format
    from selfdraft.evaluation.rows import write_rows
    from selfdraft.evaluation.shards import Shard
    from selfdraft.files import sha256_of
    from selfdraft.models.exit import target_identity
    from selfdraft.models.runtime import start
    from selfdraft.sequences import check_room, read_counts, read_name, some_prompts
    from selfdraft.sources.chat import ChatTokenizer

    shard = Shard.from_text(args.shard)
    settings = known_keys(json_option(args.settings, "--settings"), DEFAULTS, "acceptance")
    chosen, given = points_by_policy(args.points), json_option(args.policies, "--policies")
    if unknown := [policy for policy, _ in chosen if policy not in given]:
        raise StudyError(f"--points: policy {unknown[0]} is not among --policies ({', '.join(given)})")
    policies = {name: Policy.from_settings(name, given[name]) for name, _ in chosen}
    drafting, drafters = ways(args.drafting), json_option(args.drafters, "--drafters")
    prompts = some_prompts(args.data, settings["prompts"], "acceptance")
    counted = args.trained_on or args.data
    target = start(args.target, settings["dtype"], args.device, args.threads)
    check_room(prompts, settings["max_new_tokens"], target.config.max_positions, args.data)
    eos_ids = frozenset(ChatTokenizer.from_folder(args.target).eos_ids)

    folders = {Path(folder).name: folder for folder in args.checkpoints}
    texts = [[prompt.id, list(prompt.tokens)] for prompt in prompts]
    answers = sha256_of(args.vanilla) if args.vanilla else None
    made_by = [target_identity(target), str(target.device), torch.__version__, answers]
    kept = Kept(args.kept_dir, args.code, [made_by, settings, read_name(args.data), digest(texts), args.shard])

    def decides(policy: str, point: "PointOption") -> list[Any]:
        """What the rows of a point depend on, beside what all points of the job do."""
        if point.drafting not in drafting:
            raise StudyError(f"--points: {point.drafting!r} is not among --drafting ({', '.join(drafting)})")
        way, made = drafting[point.drafting], drafters.get(point.name)
        draft = draft_identity(folders[point.name]) if point.name in folders else [made]
        if isinstance(made, dict):
            draft += [sha256_of(file) for file in files_of(made)]
        vocabulary = digest(read_counts(counted, target.config.vocab_size).tolist()) if way.vocabulary else None
        return [point, asdict(policies[policy]), asdict(way), draft, vocabulary]

    found: dict[tuple[str, PointOption], list[dict[str, str]] | None] = {
        (policy, point): kept.find(point_name(policy, point, shard), decides(policy, point)) for policy, point in chosen
    }
    missing = [key for key, rows in found.items() if rows is None]
    measured = dict(
        zip(
            missing,
            measured_points(
                [point for _, point in missing], args.checkpoints, drafters, drafting, target, args.data, counted
            ),
            strict=True,
        )
    )
    target.pack()
    new_tokens, batch = settings["max_new_tokens"], settings["batch"]
    truth: Answers | None = None  # of the greedy points; identity is defined in float32
    if settings["dtype"] == "float32" and any(policies[policy].greedy for policy, _ in missing):
        if args.vanilla:
            truth = read_answers(args.vanilla, target, new_tokens, prompts)
        else:
            mine = [prompt for group in shard.of(by_length(prompts, batch)) for prompt in group]
            truth = greedy_answers(target, mine, new_tokens, batch, eos_ids)
    spare = max(drafting[point.drafting].slots(point.gamma) for _, point in chosen)
    prefills = Prefills(
        target, new_tokens, spare, {depth for point in measured.values() for depth in point.drafter.depths}
    )

    def rows_of(policy: str, point: "PointOption") -> "Iterator[Mapping[str, Any]]":
        rows = found[policy, point]
        if rows is not None:
            yield from rows
            return
        drafter, gamma, columns = measured[policy, point]
        how = policies[policy]
        fixed = columns | {"policy": policy, "dtype": number_format(target)}
        compared = truth if how.greedy else None
        made = acceptance_rows(
            *(target, drafter, prompts, how, gamma, new_tokens, batch, settings["seed"], eos_ids, compared),
            shard,
            prefills,
        )
        new = [{**fixed, **row} for row in made]
        kept.keep(point_name(policy, point, shard), decides(policy, point), COLUMNS, new)
        yield from new

    write_rows(args.out, COLUMNS, (row for policy, point in chosen for row in rows_of(policy, point)))


def point_name(policy: str, point: "PointOption", shard: "Shard") -> str:
    """The file of a point's kept rows, such as `layer21_T1.0_head_block_gamma4_greedy_fixed_1of1`."""
    return f"{point.name}_gamma{point.gamma}_{policy}_{point.drafting}_{shard.number}of{shard.count}"
