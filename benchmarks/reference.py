"""docs/reference/ and the README's tables, from one finished run: `python benchmarks/reference.py`.

    python benchmarks/reference.py --results results --figures paper_figures      # after `make figures`
    python benchmarks/reference.py                                                 # the README's tables again

The first form copies the run's tables and figures, and what `provenance.json` says of the run; both write the part of
the README between its marks `reference table`, from docs/reference/ alone.
"""

import argparse
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs/reference"
README = ROOT / "README.md"
BEGIN, END = "<!-- reference table: begin -->\n", "<!-- reference table: end -->\n"
TABLES = ("results.csv", "methods.csv", "differences.csv", "seed_spread.csv", "lengths.csv")
BESIDE = ("batch", "peers", "compile", "identity")  # tables of `make benchmarks`
TABLES += tuple(f"{name}.csv" for name in BESIDE)
OFF = 0.05  # share by which a measured speed-up may differ from its prediction before the point is named
GAMMA, LAYER = 4, 21
WAYS = {
    "confident": "ended below a confidence of 0.4",
    "adaptive": "adaptive length",
    "trimmed": "vocabulary of 8,192",
}


def keep(results: Path, figures: Path) -> None:
    """Copy a run's tables and figures to docs/reference/, with the facts of the run in run.json."""
    for name in TABLES:
        if (results / name).is_file():
            shutil.copy(results / name, REFERENCE / name)
    for figure in sorted(figures.glob("*.png")):
        shutil.copy(figure, REFERENCE / figure.name)
    made = json.loads((results / "provenance.json").read_text())
    timed = pd.read_csv(results / "speed.csv")
    run = {
        "commit": made["commit"],
        "date": datetime.fromtimestamp((results / "results.csv").stat().st_mtime, UTC).date().isoformat(),
        "machine": {key: value for key, value in made["machine"].items() if key != "host"},
        "dtype": sorted(timed["dtype"].unique()),
        "threads": sorted(int(count) for count in timed["threads"].unique()),
        "disturbed": [int((timed["disturbed"] > 0).sum()), len(timed)],
        "packages": made["packages"],
        "job_seconds": round(sum(rule["seconds"] for rule in made["durations"].values())),
        "durations": {rule: [spent["jobs"], round(spent["seconds"])] for rule, spent in made["durations"].items()},
    }
    (REFERENCE / "run.json").write_text(json.dumps(run, indent=1) + "\n")


def number(row: pd.Series, name: str, digits: int = 2) -> str:
    """`estimate [low, high]`; empty where it was not measured."""
    if pd.isna(row[name]):
        return ""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    interval = "" if pd.isna(low) else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{row[name]:.{digits}f}{interval}"


def size(parameters: float) -> str:
    """Trained parameters as one reads them."""
    if parameters < 1e5:
        return f"{parameters:,.0f}"
    return f"{parameters / 1e6:.2f} M" if parameters < 1e6 else f"{parameters / 1e6:.1f} M"


def chosen(table: pd.DataFrame, **settings: object) -> pd.DataFrame:
    for name, value in settings.items():
        table = table[table[name] == value]
    return table


def exits(table: pd.DataFrame) -> list[str]:
    """A line for each exit of the sweep over layers."""
    lines = [
        "| exit | capacity | KL, nats | top-1 | accepted, greedy | the same, T 0.7 | speedup, greedy | predicted |",
        "|---|---|---|---|---|---|---|---|",
    ]
    main = chosen(table, drafter="early_exit", T=1.0, objective="kl", seed=0, gamma=GAMMA, drafting="fixed")
    greedy, sampled = chosen(main, policy="greedy"), chosen(main, policy="t0.7").set_index(["layer", "capacity"])
    for _, row in greedy[greedy["capacity"].isin(["head", "head_block"])].sort_values(["layer", "capacity"]).iterrows():
        other = (
            sampled.loc[(row["layer"], row["capacity"])] if (row["layer"], row["capacity"]) in sampled.index else None
        )
        cells = [
            f"{row['layer']:.0f}",
            f"`{row['capacity']}`",
            number(row, "kl_at_1"),
            number(row, "top1", 3),
            number(row, "accepted_mean"),
            "" if other is None else number(other, "accepted_mean"),
            number(row, "speedup"),
            number(row, "predicted_speedup"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def drafts(table: pd.DataFrame) -> list[str]:
    """A line for each capacity at one layer, each way of drafting, and each drafter that is no exit."""
    lines = [
        f"| at layer {LAYER}, greedy, gamma 4 | trained parameters | KL, nats | accepted of 4 | speedup |",
        "|---|---|---|---|---|",
    ]
    greedy = chosen(table, policy="greedy", gamma=GAMMA)
    here = chosen(greedy, layer=LAYER, T=1.0, objective="kl", seed=0)
    for _, row in chosen(here, drafting="fixed").sort_values("trained_parameters").iterrows():
        named = f"`{row['capacity']}`", size(row["trained_parameters"]), number(row, "kl_at_1")
        lines.append(f"| {' | '.join(named)} | {number(row, 'accepted_mean')} | {number(row, 'speedup')} |")
    start = chosen(greedy, layer=LAYER, objective="none", drafting="fixed")
    for _, row in start.iterrows():
        named = f"`{row['capacity']}`, the regression alone", "0", number(row, "kl_at_1")
        lines.append(f"| {' | '.join(named)} | {number(row, 'accepted_mean')} | {number(row, 'speedup')} |")
    for way, words in WAYS.items():
        for _, row in chosen(here, capacity="head_block", drafting=way).iterrows():
            lines.append(f"| `head_block`, {words} | | | {number(row, 'accepted_mean')} | {number(row, 'speedup')} |")
    return lines


def others(table: pd.DataFrame) -> list[str]:
    """A line for each draft length of each drafter that is no exit, greedy, the fastest drafter first.

    Of the ways of drafting: a fixed length, and one that ends where the draft is unsure.
    """
    lines = [
        "| drafter, greedy | gamma | accepted | target calls per token | speedup | predicted |",
        "|---|---|---|---|---|---|",
    ]
    rows = chosen(table, policy="greedy")
    rows = rows[(rows["drafter"] != "early_exit") & rows["drafting"].isin(["fixed", "confident"])]
    best = rows.groupby("drafter")["speedup"].max().sort_values(ascending=False)
    for drafter in best.index:
        for _, row in (
            chosen(rows, drafter=drafter).sort_values(["drafting", "gamma"], ascending=[False, True]).iterrows()
        ):
            way = "" if row["drafting"] == "fixed" else f", {WAYS[row['drafting']]}"
            cells = [f"`{drafter}`", f"{row['gamma']:.0f}{way}", number(row, "accepted_mean")]
            cells += [number(row, name) for name in ("target_calls_per_token", "speedup", "predicted_speedup")]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def name_of(row: pd.Series) -> str:
    """A point as one reads it."""
    if row["drafter"] == "early_exit":
        kind = "regression alone" if row["objective"] == "none" else f"T {row['T']:g}, seed {row['seed']:.0f}"
        said = f"exit {row['layer']:.0f} `{row['capacity']}` ({kind})"
    else:
        said = f"`{row['drafter']}`"
    way = "" if row["drafting"] == "fixed" else f", {row['drafting']}"
    return f"{said}, gamma {row['gamma']:.0f}, {row['policy']}{way}"


def predictions(table: pd.DataFrame) -> list[str]:
    """How far measured speed-ups are from their predictions, and which points are off."""
    told = table[table["speedup"].notna() & table["predicted_speedup"].notna()]
    ratio = told["speedup"] / told["predicted_speedup"]
    off = (ratio - 1).abs() > OFF
    lines = [
        "# The reference run",
        "",
        "Tables and figures of one run of the default study, kept by `python benchmarks/reference.py`; `run.json` says",
        "where and from which commit. The tables of `make benchmarks` (batch, peers, compile, identity) say their own",
        "commit. The folders `drafters`, `long`, `shipped`, `exits` and `online` hold those of other studies, of which",
        "[benchmarks.md](../benchmarks.md) tells.",
        "",
        "## Measured speedup over the predicted one",
        "",
        f"Median {ratio.median():.3f} over {len(ratio)} points, median of |ratio − 1| "
        f"{(ratio - 1).abs().median():.3f}; the prediction has its",
        "acceptance from the acceptance table and its step times from a measurement of single steps.",
        f"{off.sum()} points are more than {OFF:.0%} off:",
        "",
        "| point | accepted | speedup | predicted | ratio | disturbed runs |",
        "|---|---|---|---|---|---|",
    ]
    for at in ratio[off].sort_values().index:
        row = told.loc[at]
        cells = [name_of(row), f"{row['accepted_mean']:.2f}", number(row, "speedup"), number(row, "predicted_speedup")]
        cells += [f"{ratio[at]:.2f}", f"{row['disturbed']:.0%}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def stages(run: dict) -> list[str]:
    """Jobs and seconds of each rule."""
    spent = sorted(run["durations"].items(), key=lambda item: -item[1][1])
    lines = ["", "## Time", "", "| rule | jobs | minutes, all jobs |", "|---|---|---|"]
    lines += [f"| {rule} | {jobs} | {seconds / 60:.1f} |" for rule, (jobs, seconds) in spent if seconds >= 30]
    return [
        *lines,
        "",
        f"All jobs together: {run['job_seconds'] / 60:.0f} minutes; jobs of one core stand side by side.",
    ]


def older(run: dict) -> list[str]:
    """The tables of `make benchmarks` that are not of this run's commit."""
    commits = {name: pd.read_csv(REFERENCE / f"{name}.csv").get("commit", pd.Series([""])) for name in BESIDE}
    return [name for name, found in commits.items() if {str(commit)[:12] for commit in found} != {run["commit"][:12]}]


def about(table: pd.DataFrame, run: dict) -> str:
    """What must be known of the run, and how far its predictions hold."""
    ratio = (table["speedup"] / table["predicted_speedup"]).dropna()
    held_up, of = run["disturbed"]
    machine = run["machine"]
    same = table["identical"].dropna().min()
    rows = chosen(table, policy="greedy")
    said = [
        f"Commit {run['commit'][:12]}, {machine['cores']} cores of an {machine['cpu']}, {' and '.join(run['dtype'])}, "
        f"{run['threads'][-1]} threads, {run['date']}.",
        f"Vanilla decoding ran at {rows['vanilla_tps'].median():.0f} tokens/s, transformers' `generate` on the same "
        f"weights at {rows['transformers_tps'].median():.0f}; {held_up} of {of} timed runs stayed disturbed.",
        "Measured speedup ÷ the one predicted from acceptance and single steps: "
        f"median {ratio.median():.3f} over {len(ratio)} points, {(ratio.sub(1).abs() > 0.1).sum()} of them more than a "
        "tenth off.",
        f"Greedy output was vanilla's in float32 on {'all' if same == 1 else f'{same:.1%} of the'} prompts at every "
        "point.",
    ]
    if left := older(run):
        said.append(f"Of the tables and figures of `make benchmarks` these are older: {', '.join(left)}.")
    return "\n".join(said)


def block() -> str:
    """The README's part, from docs/reference/."""
    table = pd.read_csv(REFERENCE / "results.csv")
    run = json.loads((REFERENCE / "run.json").read_text())
    table = chosen(table, dataset=run.get("dataset", "sharegpt"))
    head = (
        f"The reference run of the default study (gamma {GAMMA}, 95 % intervals; all figures and tables are in\n"
        "[docs/reference/](docs/reference/); KL on held-out answers):\n"
    )
    tables = (others(table), exits(table), drafts(table))
    return "\n".join([head, *(line for lines in tables for line in (*lines, "")), about(table, run), ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, help="results/ of a finished run (default: only write the README anew)")
    parser.add_argument("--figures", type=Path, default=ROOT / "paper_figures", help="its figures")
    args = parser.parse_args()
    if args.results is not None:
        keep(args.results, args.figures)
    run = json.loads((REFERENCE / "run.json").read_text())
    table = chosen(pd.read_csv(REFERENCE / "results.csv"), dataset=run.get("dataset", "sharegpt"))
    (REFERENCE / "README.md").write_text("\n".join([*predictions(table), *stages(run), ""]))
    text = README.read_text()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    README.write_text(before + BEGIN + block() + END + after)


if __name__ == "__main__":
    main()
