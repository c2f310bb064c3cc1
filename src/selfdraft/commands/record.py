"""`selfdraft record`: write provenance.json beside a study's results."""

import argparse
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the stage."""
    parser.add_argument("--config", default="{}", help="the study's config as JSON")
    parser.add_argument("--commit", help="git commit (default: that of the checkout that holds this package)")
    parser.add_argument("--machine", type=Path, help="machine.json, of the machine whose speed was measured")
    parser.add_argument("--checkpoints", nargs="*", type=Path, default=[], help="config.json of each checkpoint")
    parser.add_argument("--benchmarks", type=Path, help="folder of the workflow's benchmark files")
    parser.add_argument("--rules", default="{}", help="JSON: regular expression of each rule's benchmark files by rule")
    parser.add_argument("--out", type=Path, required=True, help="provenance.json, in the folder of the results")


def run(args: argparse.Namespace) -> None:
    """Collect, write."""
    from selfdraft.commands.settings import json_option
    from selfdraft.files import write_json
    from selfdraft.provenance import commit
    from selfdraft.provenance.study import study_provenance

    config, rules = json_option(args.config, "--config"), json_option(args.rules, "--rules")
    made_by = commit() if args.commit is None else args.commit
    found = study_provenance(args.out.parent, config, made_by, args.machine, args.checkpoints, args.benchmarks, rules)
    write_json(args.out, found)
    print(f"{args.out}: commit {made_by}, {len(found['tables'])} tables, {len(found['checkpoints'])} checkpoints")
