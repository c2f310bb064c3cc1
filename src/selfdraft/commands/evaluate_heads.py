"""`selfdraft evaluate-heads`: how often each auxiliary head is right, and whether it knows, with intervals."""

import argparse
from typing import TYPE_CHECKING, Any

from selfdraft.commands.capture import HELP_DATA, HELP_TARGET
from selfdraft.commands.options import add_dtype, add_origin, add_place

if TYPE_CHECKING:
    from selfdraft.calibration.exits import Said
    from selfdraft.evaluation.heads import Arrays
    from selfdraft.statistics.bootstrap import Bootstrap, Estimate

CURVES = ("agreement", "exit_rate")
EACH = 4  # of the thresholds that are calibrated, how many one is drawn of
ESTIMATES = ("agreement", "accuracy", "target_accuracy", "overlap", "entropy", "ece_target", "ece_labels")


def arguments(parser: argparse.ArgumentParser) -> None:
    add_heads(parser)
    parser.add_argument("--settings", default="{}", help="JSON: resamples, confidence, seed")
    add_origin(parser)
    parser.add_argument("--out", "--output-path", required=True, help="CSV file to write: a row per head")
    parser.add_argument(
        "--curves", help="another CSV file to write: agreement by threshold on the entropy, and by top probability"
    )


def add_heads(parser: argparse.ArgumentParser) -> None:
    """The options that name heads, and the held-out conversations that they are asked about."""
    parser.add_argument("--target", required=True, help=HELP_TARGET)
    parser.add_argument("--data", required=True, help=f"{HELP_DATA}, with held-out sequences")
    parser.add_argument("--drafter", required=True, help="folder of kind exits made by `selfdraft train-drafter`")
    parser.add_argument("--num-samples", type=int, help="held-out conversations to look at (default: all)")
    add_dtype(parser, "the computation")
    add_place(parser)


def run(args: argparse.Namespace) -> None:
    from pathlib import Path

    from selfdraft.commands.results import bootstrap_settings
    from selfdraft.evaluation.heads import heads_on_text, said_of, sums_of
    from selfdraft.evaluation.number_format import number_format
    from selfdraft.models.runtime import start
    from selfdraft.sequences import read_name, read_sequences
    from selfdraft.statistics.bootstrap import Bootstrap
    from selfdraft.statistics.side_tables import cells, with_intervals
    from selfdraft.statistics.tables import note, number_text, write_results

    bootstrap = Bootstrap(**bootstrap_settings(args.settings))
    target = start(args.target, args.dtype, args.device, args.threads)
    sequences = read_sequences(args.data, "held_out")
    found, config, _ = heads_on_text(args.drafter, target, sequences, args.num_samples)
    rows, points = [], []
    for layer in sorted(config["heads"]):
        names, sums = sums_of(found, layer)
        made = estimates(sums, bootstrap, f"{config['drafter']}/layer{layer}")
        row = {"drafter": config["drafter"], "layer": str(layer), "capacity": config["capacity"]}
        row |= {"T": str(config["T"]), "dataset": read_name(args.data)} | cells(made)
        row |= {"conversations": str(len(names)), "tokens": number_text(float(sums["tokens"].sum()))}
        row |= {"dtype": number_format(target), "interval_note": note(made)}
        origin = {"commit": args.commit, "config_hash": args.config_hash}
        rows.append(row | origin)
        if args.curves:
            about = {name: row[name] for name in ("drafter", "layer", "dataset", "dtype")} | origin
            points += [about | point for point in curves(said_of(found, layer)[0], sums, bootstrap, row["drafter"])]
    columns = ["drafter", "layer", "capacity", "T", "dataset", *with_intervals(ESTIMATES)]
    columns += ["conversations", "tokens", "dtype", "interval_note", "commit", "config_hash"]
    write_results(Path(args.out), columns, rows)
    if args.curves:
        columns = ["drafter", "layer", "dataset", "curve", "at", *with_intervals(CURVES), "tokens", "dtype"]
        write_results(Path(args.curves), [*columns, "interval_note", "commit", "config_hash"], points)
    print(f"{args.out}: {len(rows)} heads")


def estimates(sums: "Arrays", bootstrap: "Bootstrap", name: str) -> "dict[str, Estimate]":
    """Each of ESTIMATES over the conversations of one head's sums.

    `ece_target` and `ece_labels`: expected calibration error of the top probability, as a chance to agree with the
    target, or to be the label; Σ over bins of |agreeing - promised| / tokens.
    """
    import numpy as np

    of_tokens = {
        **{"agreement": "agrees", "accuracy": "correct", "target_accuracy": "target_correct"},
        **{"overlap": "overlap", "entropy": "entropy"},
    }
    made = {
        key: bootstrap.ratio(sums[column], sums["tokens"], (name, key), "conversations")
        for key, column in of_tokens.items()
    }

    def error(tokens: Any, *bins: Any) -> Any:
        promised, kept = bins[: len(bins) // 2], bins[len(bins) // 2 :]
        return sum(np.abs(a - b) for a, b in zip(promised, kept, strict=True)) / tokens

    for key, column in (("ece_target", "bin_agrees"), ("ece_labels", "bin_correct")):
        columns = [sums["tokens"], *sums["bin_sure"].T, *sums[column].T]
        made[key] = bootstrap.estimate(error, columns, (name, key), "conversations")
    return made


def curves(said: "Said", sums: "Arrays", bootstrap: "Bootstrap", name: str) -> list[dict[str, str]]:
    """One head's points: by `threshold` on the entropy, and by bins of the top probability (`reliability`).

    `agreement` is of the tokens that leave at it, or are in the bin; `exit_rate` how many these are of all.
    """
    import numpy as np

    from selfdraft.calibration.exits import exits_and_errors
    from selfdraft.calibration.measures import grid
    from selfdraft.statistics.side_tables import cells
    from selfdraft.statistics.tables import note, number_text

    leaves, errors = exits_and_errors(said, "entropy")
    found = [
        ("threshold", float(at), leaves[:, place], leaves[:, place] - errors[:, place])
        for place, at in list(enumerate(grid("entropy")))[::EACH]
    ]
    with np.errstate(invalid="ignore"):
        means = sums["bin_sure"].sum(axis=0) / sums["bin_tokens"].sum(axis=0)
    found += [
        ("reliability", float(means[place]), sums["bin_tokens"][:, place], sums["bin_agrees"][:, place])
        for place in range(len(means))
        if means[place] == means[place]
    ]
    points = []
    for curve, at, counted, agreeing in found:
        key = (name, curve, number_text(at))
        made = {"exit_rate": bootstrap.ratio(counted, sums["tokens"], (*key, "exit_rate"), "conversations")}
        if counted.sum():
            made["agreement"] = bootstrap.ratio(agreeing, counted, (*key, "agreement"), "conversations")
        point = {"curve": curve, "at": number_text(at), "tokens": number_text(float(counted.sum()))}
        points.append(point | cells(made) | {"interval_note": note(made)})
    return points
