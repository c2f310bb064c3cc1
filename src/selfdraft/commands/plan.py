"""`selfdraft plan`: what a study will cost, before anything is run."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selfdraft.study.expected import Costs


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="all_figures (the default), all_benchmarks, …")
    parser.add_argument("--config", default="config.yaml", metavar="FILE", help="the study")
    parser.add_argument(
        "--machine",
        metavar="NAME|FILE",
        help="times: epyc-2-cores (float32), epyc-2-cores-bfloat16, or a file of --write (default: that of this "
        "processor's number format, none for the config of a cluster)",
    )
    parser.add_argument(
        "--measured", metavar="RESULTS", help="results of a run, of any config, on the machine in question"
    )
    parser.add_argument("--write", metavar="FILE", help="keep the times that were found in --measured")
    parser.add_argument("--results", default="results", help="where models that are there already lie")
    parser.add_argument(
        "--jobs", type=int, action="append", metavar="N", help="at once, for the time on the clock; may be repeated"
    )
    parser.add_argument("--json", action="store_true", help="seconds and bytes for programs, instead of tables")


def run(args: argparse.Namespace) -> None:
    """Predict and print."""
    import json
    import os
    from collections import Counter

    from selfdraft.errors import StudyError
    from selfdraft.files import whole_file
    from selfdraft.plan import disk, table
    from selfdraft.plan.dag import jobs_of
    from selfdraft.study.config import load
    from selfdraft.study.expected import measured_costs, text_of
    from selfdraft.study.model_sizes import model_sizes

    if args.write and not args.measured:
        raise StudyError("--write: goes with --measured RESULTS, in which times are found")
    if args.jobs and min(args.jobs) < 1:
        raise StudyError(f"--jobs: {min(args.jobs)} is not ≥ 1")
    config = load(args.config)
    costs = measured_costs(args.measured) if args.measured else costs_for(args)
    if costs is not None and args.write:
        with whole_file(args.write) as path:
            path.write_text(text_of(costs), encoding="utf-8")
    targets = args.targets or ["all_figures"]
    jobs = jobs_of(args.config, targets)
    models = model_sizes(config, args.results)
    counts = Counter(job.rule for job in jobs)
    seconds = None
    if costs is not None:
        seconds = costs.seconds(counts, config, {name: float(sizes.parameters) for name, sizes in models.items()})
    left = {rule: size for rule, size in disk.bytes_by_rule(config, models).items() if rule in counts}
    scratch = disk.scratch(config, models) if "train" in counts else 0.0
    made = table.Plan(jobs, seconds, left, scratch, costs)
    slots = args.jobs or [costs.cores or 1 if costs else 1]
    if args.json:
        print(json.dumps(table.as_json(made, slots), indent=2))
        return
    name = config["target"]["name"]
    size = f"{models[name].parameters / 1e9:.3g} billion parameters" if name in models else "its size is not known yet"
    print(table.text(made, slots, f"{os.fspath(args.config)}: {' '.join(targets)}\nTarget: {name}, {size}"))


def costs_for(args: argparse.Namespace) -> "Costs | None":
    """Those of --machine; without it those of the package, or none for a config beside the profile of a cluster."""
    from pathlib import Path

    from selfdraft.study.expected import read_costs, usual

    if args.machine:
        return read_costs(args.machine)
    return None if (Path(args.config).parent / "profile.yaml").is_file() else read_costs(usual())
