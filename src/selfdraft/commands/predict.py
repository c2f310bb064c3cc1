"""`selfdraft predict`: would it pay on another machine, which draft, and how long a one."""

import argparse
from pathlib import Path

from selfdraft.commands.results import bootstrap_settings

GAMMAS = [1, 2, 3, 4, 6, 8, 12, 16]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the stage."""
    parser.add_argument("--acceptance", type=Path, required=True, help="acceptance.csv of a study, run anywhere")
    parser.add_argument(
        "--steps", type=Path, required=True, help="steps.json of `selfdraft machine --steps`, or a study's steps.csv"
    )
    parser.add_argument(
        "--gammas", type=int, nargs="*", default=GAMMAS, help="draft lengths beside those that were run"
    )
    parser.add_argument("--context", type=float, help="tokens in the cache (default: the mean of the steps' contexts)")
    parser.add_argument("--dataset", help="whose prompts (default: the first of the table)")
    parser.add_argument("--settings", default="{}", help="JSON: resamples, confidence, seed")
    parser.add_argument("--name", default="this machine", help="the machine's name, for the figure")
    parser.add_argument("--style", default="{}", help="JSON: width and height in inches, rcParams")
    parser.add_argument("--out-dir", type=Path, default=Path("results"), help="for prediction.csv, .pdf and .png")


def run(args: argparse.Namespace) -> None:
    """Read, predict, write, and name the best."""
    from selfdraft.errors import StudyError
    from selfdraft.figures.inputs import json_object
    from selfdraft.figures.on_a_machine import draw
    from selfdraft.figures.style import applied, checked_style, save
    from selfdraft.statistics.bootstrap import Bootstrap
    from selfdraft.statistics.columns import SETTINGS
    from selfdraft.statistics.predictions import Prediction, best_of, predictions
    from selfdraft.statistics.raw_tables import read_raw
    from selfdraft.statistics.step_files import read_steps
    from selfdraft.statistics.tables import cell, number_text, write_results

    chosen, style = bootstrap_settings(args.settings), checked_style(json_object(args.style, "--style"))
    if any(gamma < 1 for gamma in args.gammas):
        raise StudyError(f"--gammas: {min(args.gammas)} is not ≥ 1")
    acceptance, steps = read_raw(args.acceptance, "acceptance"), read_steps(args.steps)
    dataset = args.dataset or acceptance["dataset"].iloc[0]
    if dataset not in set(acceptance["dataset"]):
        known = ", ".join(sorted(set(acceptance["dataset"])))
        raise StudyError(f"--dataset: {dataset} is not in {args.acceptance}; {known} are")
    context = float(steps["context"].mean()) if args.context is None else args.context
    rows = acceptance[acceptance["dataset"] == dataset]
    found, missing = predictions(rows, steps, args.gammas, context, Bootstrap(**chosen))
    if not found:
        raise StudyError(f"{args.steps}: has no steps of any draft of {args.acceptance}; time them there")
    about = {"context": number_text(context), **{name: steps[name].iloc[0] for name in ("dtype", "threads", "device")}}
    written = [
        one.settings
        | {"how": one.how, "from_gamma": str(one.from_gamma)}
        | cell("accepted_mean", one.accepted_mean)
        | cell("predicted_speedup", one.speedup)
        | about
        for one in found
    ]
    columns = [*SETTINGS, "how", "from_gamma"]
    columns += [f"{name}{end}" for name in ("accepted_mean", "predicted_speedup") for end in ("", "_low", "_high")]
    args.out_dir.mkdir(parents=True, exist_ok=True)
    write_results(args.out_dir / "prediction.csv", [*columns, *about], written)
    with applied(style):
        save(draw(found, style, args.name), "prediction", args.out_dir)

    width = max(len(one.name) for one in found)
    print(f"{'draft':{width}}  {'policy':8}  gamma  accepted  speedup  interval")
    best = best_of(found)
    first: dict[tuple[str, str], Prediction] = {}  # the best length of each draft under each policy
    for one in found:
        first.setdefault((one.name, one.settings["policy"]), one)
    for one in first.values():
        low, high = one.speedup.low, one.speedup.high
        interval = "–" if low is None or high is None else f"{low:.2f}…{high:.2f}"
        told = "" if one.how == "run" else f"  ({one.how} from gamma {one.from_gamma})"
        print(
            f"{one.name:{width}}  {one.settings['policy']:8}  {one.gamma:5}  {one.accepted_mean.value:8.2f}  "
            f"{one.speedup.value:7.2f}  {interval}{told}"
        )
    for (policy, _), one in best.items():
        print(f"best, {policy}: {one.name}, gamma {one.gamma}: {one.speedup.value:.2f} times vanilla; {one.verdict}")
    for name in missing:
        print(f"not told: {name}: {args.steps} has no steps of it")
    print(
        f"{args.out_dir / 'prediction.csv'}: {len(found)} points at {context:g} tokens of context; .pdf, .png beside it"
    )
