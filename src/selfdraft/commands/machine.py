"""`selfdraft machine`: measure the machine once; with --steps, how long the steps of decoding take on it."""

import argparse

from selfdraft.commands.options import add_dtype, add_place

WIDTHS = [1, 3, 7, 15, 31]  # gammas whose verifications are of 2, 4, 8, 16 and 32 tokens; one token is always timed


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, help="JSON file to write")
    parser.add_argument("--steps", action="store_true", help="time steps of decoding, for `selfdraft predict`")
    parser.add_argument("--target", help="with --steps: folder made by `selfdraft target` (default: the only one)")
    parser.add_argument(
        "--acceptance", default="results/acceptance.csv", help="with --steps: table that names the drafts and policies"
    )
    parser.add_argument("--gammas", type=int, nargs="+", default=WIDTHS, help="with --steps: lengths of the drafts")
    parser.add_argument("--contexts", type=int, nargs="+", default=[80, 260], help="with --steps: tokens in the cache")
    parser.add_argument("--rounds", type=int, default=5, help="with --steps: how often each step is timed")
    parser.add_argument(
        "--policies",
        default='{"greedy": {}}',
        help="with --steps: settings of the table's policies by name, as JSON; others are left out",
    )
    add_dtype(parser, "the steps")
    add_place(parser)


def run(args: argparse.Namespace) -> None:
    import torch

    from selfdraft.evaluation.machine import measure
    from selfdraft.files import write_json
    from selfdraft.models.runtime import resolve_device

    if args.steps:
        write_json(args.out, timed_steps(args))
        return
    if args.threads:
        torch.set_num_threads(args.threads)
    write_json(args.out, measure(resolve_device(args.device)))


def timed_steps(args: argparse.Namespace) -> dict[str, object]:
    """The contents of steps.json: what the machine is, and a row a step as in a study's results/steps.csv."""
    from selfdraft.commands.folders import only_folder
    from selfdraft.commands.settings import json_option
    from selfdraft.decoding.policy import Policy
    from selfdraft.errors import StudyError
    from selfdraft.evaluation.step_table import step_table
    from selfdraft.models.runtime import start
    from selfdraft.provenance import surroundings
    from selfdraft.statistics.raw_tables import read_raw

    for option in ("gammas", "contexts", "rounds"):
        values = getattr(args, option)
        if min(values if isinstance(values, list) else [values]) < 1:
            raise StudyError(f"--{option}: {values} is not ≥ 1")
    table = read_raw(args.acceptance, "acceptance")
    policies = [
        Policy.from_settings(name, settings)
        for name, settings in json_option(args.policies, "--policies").items()
        if name in set(table["policy"])
    ]
    if not policies:
        raise StudyError(f"--policies: none of them is in {args.acceptance}: {', '.join(sorted(set(table['policy'])))}")
    fixed = table[(table["drafting"] == "fixed") & ((table["layer"] != "") | (table["drafter"] == "lookup"))]
    drafts = list(dict.fromkeys(zip(fixed["drafter"], fixed["layer"], fixed["capacity"], strict=True)))
    if not drafts:
        raise StudyError(f"{args.acceptance}: no exit and no lookup with drafting fixed; steps of these are timed")
    target = start(
        only_folder(args.target, "results/target", "model.safetensors", "--target"),
        *(args.dtype, args.device, args.threads),
    )
    rows = list(step_table(target, drafts, policies, args.gammas, args.contexts, args.rounds))
    return {"machine": surroundings.machine(target.device.type), "steps": rows}
