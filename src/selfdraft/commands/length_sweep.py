"""`selfdraft length-sweep`: one drafter at several lengths of the answer; a printed table, a CSV file, a figure."""

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from selfdraft.commands.capture import HELP_DATA, HELP_TARGET
from selfdraft.commands.one_drafter import add_drafter
from selfdraft.commands.options import add_dtype, add_place
from selfdraft.threads import HELP as HELP_THREADS

if TYPE_CHECKING:
    from rich.table import Table

# the column's title, and what stands in it of vanilla decoding and of the drafter
SHOWN = (
    ("s", "vanilla_s", "spec_s"),
    ("speedup", None, "speedup"),
    ("tokens/s", "vanilla_tps", "spec_tps"),
    ("calls/token", "vanilla_calls_per_token", "target_calls_per_token"),
    ("accept rate", None, "accept_rate"),
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", help=f"{HELP_TARGET} (default: the one under results/target)")
    parser.add_argument("--data", help=f"{HELP_DATA} (default: the one under results/data)")
    add_drafter(parser, "one drafter must be named")
    parser.add_argument("--gamma", type=int, default=4, help="tokens drafted per cycle")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy")
    parser.add_argument("--top-p", type=float, default=1.0, help="nucleus mass, 1 is off")
    parser.add_argument("--top-k", type=int, default=0, help="best tokens kept, 0 is off")
    parser.add_argument(
        "--lengths",
        type=int,
        nargs="+",
        default=[50, 100, 200, 500, 1000],
        help="tokens of an answer, ascending; end-of-sequence is ignored",
    )
    parser.add_argument(
        "--samples", type=int, default=20, help="prompts, the same ones at each length (8 for an interval)"
    )
    parser.add_argument("--retime-minutes", type=float, default=2.0, help="at most, for timing disturbed runs again")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the runs and of sampling")
    parser.add_argument("--statistics", default="{}", help="the config's `statistics` section as JSON")
    parser.add_argument("--out-dir", required=True, help="folder for raw/lengths.csv, lengths.csv and the figure")
    add_dtype(parser, "both methods")
    add_place(parser, HELP_THREADS)


def run(args: argparse.Namespace) -> None:
    from pathlib import Path

    from rich.console import Console

    from selfdraft.cli import dispatch
    from selfdraft.commands.folders import only_folder
    from selfdraft.commands.one_drafter import chosen_drafter, is_drafting
    from selfdraft.commands.results import bootstrap_settings
    from selfdraft.decoding.drafting import Tree
    from selfdraft.decoding.policy import Policy
    from selfdraft.errors import StudyError
    from selfdraft.evaluation.lengths import COLUMNS, check_context, check_lengths, length_rows
    from selfdraft.evaluation.rows import write_rows
    from selfdraft.evaluation.speed import Patience, told_of
    from selfdraft.models.runtime import start
    from selfdraft.provenance import commit
    from selfdraft.provenance.config_hash import config_hash
    from selfdraft.sequences import read_name, read_prompts
    from selfdraft.statistics.bootstrap import Bootstrap
    from selfdraft.statistics.side_tables import write_table
    from selfdraft.threads import free_threads

    # All that can be wrong is looked at before the first run.
    if not is_drafting(args):
        raise StudyError("length-sweep: nothing is drafted; name --checkpoint, --draft-model or --lookup")
    check_lengths(args.lengths, "--lengths")
    for option, value, least in (("--samples", args.samples, 1), ("--gamma", args.gamma, 1), ("--seed", args.seed, 0)):
        if value < least:
            raise StudyError(f"{option}: {value} is not ≥ {least}")
    name = f"t{args.temperature:g}" if args.temperature else "greedy"
    policy = Policy(name, args.temperature, args.top_p, args.top_k)
    statistics = bootstrap_settings(args.statistics, "--statistics")
    folder = only_folder(args.target, "results/target", "model.safetensors", "--target")
    # Left out, it is the text that drafts were trained on: the sets of `domains` lie beside it.
    data = only_folder(args.data, "results/data", "prompts.json" if args.data else "train.safetensors", "--data")
    known, dataset = read_prompts(data), read_name(data)
    if args.samples > len(known):
        raise StudyError(f"--samples: {args.samples} is more than the {len(known)} prompts of {data}")
    prompts = known[: args.samples]
    out = Path(args.out_dir)
    out.mkdir(parents=True, exist_ok=True)
    threads, why = free_threads(args.threads)
    target = start(folder, args.dtype, args.device, threads)
    slots = Tree(*args.tree).slots(args.gamma) if args.tree else args.gamma
    check_context(prompts, args.lengths[-1], slots, target.config.max_positions, "--lengths")
    chosen = chosen_drafter(args, target)
    assert chosen is not None
    target.pack()
    print(f"{chosen.told}, gamma {args.gamma}, {policy.name}: {len(prompts)} prompts of {dataset}; {why}", flush=True)
    measured = [(chosen.drafter, args.gamma, chosen.settings | {"gamma": args.gamma, "dataset": dataset})]
    patience = Patience(minutes=args.retime_minutes)
    runs = list(length_rows(target, measured, prompts, policy, args.lengths, args.seed, patience))
    raw, table = out / "raw" / "lengths.csv", out / "lengths.csv"
    write_rows(raw, COLUMNS, runs)
    asked = {name: value for name, value in vars(args).items() if name not in ("stage", "run", "out_dir")}
    rows = write_table("lengths", raw, table, Bootstrap(**statistics), commit(), config_hash(asked))
    console = Console()
    if not console.is_terminal:  # in a log or a pipe a table may be as wide as it is
        console = Console(width=200)
    console.print(printed(rows, console.width))
    print(told_of(runs))
    dispatch(["figure", "lengths", "--table", str(table), "--out-dir", str(out)])


def printed(rows: Sequence[Mapping[str, str]], width: int) -> "Table":
    """lengths.csv as a table that is at most `width` characters wide if it can be: two lines a length.

    An interval stands beside its value, or below it where that is too wide.
    """
    from rich.console import Console

    wide = made_of(rows, " ")
    needed = Console(width=10_000).measure(wide).maximum
    return wide if needed <= width else made_of(rows, "\n")


def made_of(rows: Sequence[Mapping[str, str]], between: str) -> "Table":
    """The table with `between` a value and its interval."""
    from rich.table import Table

    table = Table("length", "", *(title for title, _, _ in SHOWN), title_justify="left")
    for row in rows:
        for who, place in (("vanilla", 1), ("drafter", 2)):
            names = [column[place] for column in SHOWN]
            found = [estimate_text(row, name, between) if name else "" for name in names]
            table.add_row(row["length"] if place == 1 else "", who, *found, end_section=place == 2)
    return table


def estimate_text(row: Mapping[str, str], name: str, between: str) -> Any:
    """An estimate with three digits and its interval, if it has one."""
    from rich.text import Text

    value, low, high = (f"{float(row[key]):.3g}" if row[key] else "" for key in (name, f"{name}_low", f"{name}_high"))
    return Text(f"{value}{between}[{low}, {high}]" if low and high else value)
