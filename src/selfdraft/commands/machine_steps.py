"""`selfdraft machine --steps`: how long the steps of decoding take on this machine, for `selfdraft predict`."""

import argparse


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
