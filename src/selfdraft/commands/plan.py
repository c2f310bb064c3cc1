"""`selfdraft plan`: what a study will cost, before anything is run."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selfdraft.plan.costs import Costs


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="all_figures (the default), all_benchmarks, …")
    parser.add_argument("--config", default="config.yaml", metavar="FILE", help="the study")
    parser.add_argument(
        "--machine",
        metavar="NAME|FILE",
        help="costs: epyc-2-cores, gh200, or a file of --write (default: as the profile beside the config says)",
    )
    parser.add_argument(
        "--measured", metavar="RESULTS", help="results of the same config, run on the machine in question"
    )
    parser.add_argument("--measured-config", metavar="FILE", help="the config of those results, if it is another one")
    parser.add_argument("--write", metavar="FILE", help="keep the costs that were found in --measured")
    parser.add_argument("--model-config", metavar="FILE", help="config.json of a target that is not there yet")
    parser.add_argument("--results", default="results", help="where a target that is there already lies")
    parser.add_argument(
        "--jobs",
        type=int,
        action="append",
        metavar="N",
        help="jobs at once, for the time on the clock; may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="seconds and bytes for programs, instead of tables")


def run(args: argparse.Namespace) -> None:
    """Predict and print."""
    import json
    import os

    from selfdraft.errors import StudyError
    from selfdraft.plan import table
    from selfdraft.plan.costs import read_costs, write_costs
    from selfdraft.plan.dimensions import models_of
    from selfdraft.plan.predict import by_figure, plan
    from selfdraft.plan.targets import by_rule
    from selfdraft.study.config import load

    for option, given in (("--write", args.write), ("--measured-config", args.measured_config)):
        if given and not args.measured:
            raise StudyError(f"{option}: goes with --measured RESULTS, from which costs are found")
    if args.jobs and min(args.jobs) < 1:
        raise StudyError(f"--jobs: {min(args.jobs)} is not ≥ 1")
    config = load(args.config)
    models = models_of(config, args.results, args.model_config)
    target = models[config["target"]["name"]]
    if args.measured:
        costs = measured_costs(args)
        if args.write:
            write_costs(args.write, costs)
    else:
        costs = read_costs(args.machine or machine_of(args.config))
    targets = args.targets or ["all_figures"]
    made = plan(config, models, costs, targets)
    figures = by_figure(config, models, costs, targets)
    slots = args.jobs or costs.slots
    if args.json:
        print(json.dumps(table.as_json(made, figures, slots), indent=2))
        return
    title = (
        f"{os.fspath(args.config)}: {' '.join(targets)}, {sum(by_rule(made.cases['typical']).values()):,} jobs\n"
        f"Target: {config['target']['name']}, {target.parameters / 1e9:.3g} billion parameters ({target.found})"
    )
    print(table.text(made, figures, slots, title))


def machine_of(config: str) -> str:
    """The machine whose GPU the profile beside a config asks for, if its costs come with the package."""
    from pathlib import Path

    from selfdraft.plan.costs import names

    profile = Path(config).parent / "profile.yaml"
    asked = profile.read_text(encoding="utf-8").split() if profile.is_file() else []
    return next((name for name in names() if name in asked), "epyc-2-cores")


def measured_costs(args: argparse.Namespace) -> "Costs":
    """Costs with which the plan tells the run in --measured; --machine names those that the rest is taken from."""
    from pathlib import Path

    from selfdraft.errors import StudyError
    from selfdraft.plan.calibrate import calibrated, machine_peaks, measured_seconds
    from selfdraft.plan.costs import read_costs
    from selfdraft.plan.dimensions import models_of
    from selfdraft.plan.targets import jobs_for
    from selfdraft.study.config import load

    measured = args.measured_config or args.config
    config = load(measured)
    name = config["target"]["name"]
    if Path(args.measured).is_dir() and not (Path(args.measured) / "target" / name).is_dir():
        raise StudyError(
            f"--measured {args.measured}: not a run of {measured}, whose target {name} is not in it; "
            "name the config of that run with --measured-config"
        )
    models = models_of(config, args.measured, None if args.measured_config else args.model_config)
    jobs = jobs_for(config, models, ["all_figures", "all_benchmarks"])
    machine = machine_peaks(args.measured)
    base = read_costs(args.machine or ("epyc-2-cores" if machine["device"] == "cpu" else "gh200"))
    name = Path(args.write).stem if args.write else str(args.measured)
    return calibrated(base, jobs, measured_seconds(args.measured, jobs), machine, name)
