"""`selfdraft evaluate-heads`: how often each auxiliary head is right, and whether it knows, with intervals."""

import argparse
from typing import TYPE_CHECKING, Any

from selfdraft.commands.capture import HELP_DATA, HELP_TARGET
from selfdraft.commands.options import add_dtype, add_origin, add_place

if TYPE_CHECKING:
    from selfdraft.evaluation.heads import Arrays
    from selfdraft.statistics.bootstrap import Bootstrap, Estimate

ESTIMATES = ("agreement", "accuracy", "target_accuracy", "overlap", "entropy", "ece_target", "ece_labels")


def arguments(parser: argparse.ArgumentParser) -> None:
    add_heads(parser)
    parser.add_argument("--settings", default="{}", help="JSON: resamples, confidence, seed")
    add_origin(parser)
    parser.add_argument("--out", "--output-path", required=True, help="CSV file to write: a row per head")


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
    from selfdraft.evaluation.heads import heads_on_text, sums_of
    from selfdraft.models.runtime import start
    from selfdraft.sequences import read_name, read_sequences
    from selfdraft.statistics.bootstrap import Bootstrap
    from selfdraft.statistics.side_tables import cells, with_intervals
    from selfdraft.statistics.tables import note, number_text, write_results

    bootstrap = Bootstrap(**bootstrap_settings(args.settings))
    target = start(args.target, args.dtype, args.device, args.threads)
    sequences = read_sequences(args.data, "held_out")
    found, config = heads_on_text(args.drafter, target, sequences, args.num_samples)
    rows = []
    for layer in sorted(config["heads"]):
        names, sums = sums_of(found, layer)
        made = estimates(sums, bootstrap, f"{config['drafter']}/layer{layer}")
        row = {"drafter": config["drafter"], "layer": str(layer), "capacity": config["capacity"]}
        row |= {"T": str(config["T"]), "dataset": read_name(args.data)} | cells(made)
        row |= {"conversations": str(len(names)), "tokens": number_text(float(sums["tokens"].sum()))}
        row |= {"dtype": str(target.dtype).removeprefix("torch."), "interval_note": note(made)}
        rows.append(row | {"commit": args.commit, "config_hash": args.config_hash})
    columns = ["drafter", "layer", "capacity", "T", "dataset", *with_intervals(ESTIMATES)]
    columns += ["conversations", "tokens", "dtype", "interval_note", "commit", "config_hash"]
    write_results(Path(args.out), columns, rows)
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
