"""results.csv -> methods.csv: each way to draft at its best setting, on the prompts of every data set.

A method is a drafter; of exits each capacity is one. Its setting (layer, T, objective, gamma, way of drafting) is
chosen under each policy on the study's own prompts alone, and is then looked at on the others: a data set on which that
setting was not measured has empty cells, never those of another setting. Two kinds of rows do not stand for choice:

- of several training seeds the first one alone, since the best of several seeds is luck;
- an exit that is accepted nearly always (`SAME`) is the target itself, a check of the loop and no way to draft; it is
  taken only if its capacity has nothing else.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from selfdraft.errors import StudyError
from selfdraft.statistics.bootstrap import Bootstrap
from selfdraft.statistics.columns import NUMERIC_SETTINGS, SETTINGS, SIZES
from selfdraft.statistics.predictions import Prediction, predictions
from selfdraft.statistics.raw_tables import numbers, read_text, setting
from selfdraft.statistics.tables import cell

SAME = 0.99  # accept_rate from which an exit is the target itself
CHOOSING = ("speedup", "predicted_speedup", "accepted_mean")  # what a setting is chosen by: the first that was measured
MEASURED = ("accepted_mean", "target_calls_per_token", "speedup", "predicted_speedup")
ENDS = ("", "_low", "_high")
COLUMNS = (
    "method",
    *SETTINGS,
    "chosen_by",
    "choices",
    *(name + end for name in MEASURED for end in ENDS),
    *SIZES,
)

Row = dict[str, str]


def read_points(path: Path) -> pd.DataFrame:
    """results.csv as text, settings in their one spelling, with the columns of CHOOSING and `accept_rate` as numbers.

    The rows that were decoded with alone. Raises StudyError naming a column that is missing, or if there are none.
    """
    table = read_text(path)
    needed = [*(name for name in SETTINGS if name != "drafting"), "accepted_mean"]
    if missing := [name for name in needed if name not in table.columns]:
        raise StudyError(f"{path}: column {', '.join(missing)} is missing; is this a results.csv?")
    wanted = [name + end for name in MEASURED for end in ENDS]
    table = table.reindex(columns=list(dict.fromkeys([*table.columns, *wanted, *SIZES, "accept_rate"])), fill_value="")
    way = table["drafting"].replace("", "fixed") if "drafting" in table else "fixed"
    spelled = {name: [setting(value, name, path) for value in table[name]] for name in NUMERIC_SETTINGS}
    values = {f"value_{name}": numbers(table, name, path) for name in (*CHOOSING, "accept_rate")}
    table = table.assign(drafting=way, **spelled, **values)
    table = table[table["policy"] != ""]
    if table[["value_accepted_mean", "value_speedup"]].isna().all(axis=None):
        raise StudyError(f"{path}: no point was decoded with; acceptance or speed is measured first")
    return table


def method_of(row: Mapping[Any, Any]) -> str:
    """A drafter's name; behind it the capacity of an exit."""
    return " ".join(filter(None, (row["drafter"], row["capacity"])))


def best_of(rows: pd.DataFrame) -> tuple[pd.Series, str, int]:
    """The row of the best setting among those of one method and policy, what it was chosen by, and of how many."""
    seeds = sorted(rows["seed"].unique(), key=lambda seed: (seed != "", float(seed or 0)))
    rows = rows[rows["seed"] == seeds[0]]
    drafts = rows[~((rows["layer"] != "") & (rows["value_accept_rate"] >= SAME))]
    rows = rows if drafts.empty else drafts
    for name in CHOOSING:
        values = rows[f"value_{name}"]
        if values.notna().any():
            return rows.iloc[int(np.nanargmax(values.to_numpy(float)))], name, len(rows)
    return rows.iloc[0], "", len(rows)


def predicted(
    chosen: pd.DataFrame, acceptance: pd.DataFrame, steps: pd.DataFrame, bootstrap: Bootstrap
) -> dict[tuple[str, ...], Prediction]:
    """Speedups from the accepted tokens and the step times of the chosen points, by their settings."""
    points = chosen[list(SETTINGS)].drop_duplicates()
    rows = acceptance.merge(points, on=list(SETTINGS))
    if rows.empty:
        return {}
    found, _ = predictions(rows, steps, (), float(steps["context"].mean()), bootstrap)
    return {tuple(one.settings[name] for name in SETTINGS): one for one in found}


def methods(
    results: pd.DataFrame,
    own: str | None,
    acceptance: pd.DataFrame | None,
    steps: pd.DataFrame | None,
    bootstrap: Bootstrap,
) -> list[Row]:
    """The rows of methods.csv, method by method in the order of results.csv; the own data set (`own`) first.

    Where a speedup was measured its prediction is that of results.csv; where not, `predicted_speedup` is told from the
    accepted tokens there and the table of steps, if both tables are given, at the mean of the steps' contexts. Raises
    StudyError if `own` has no points.
    """
    timed = results[results["value_speedup"].notna()]
    own = own or str((results if timed.empty else timed)["dataset"].iloc[0])
    have = list(dict.fromkeys(results["dataset"]))
    if own not in have:
        raise StudyError(f"--dataset: {own} has no points; {', '.join(have)} have")
    sets = [own, *(name for name in have if name != own)]
    records: list[Any] = results.to_dict("records")
    results = results.assign(method=[method_of(row) for row in records])
    parts: list[dict[str, Any]] = []
    for (method, policy), rows in results[results["dataset"] == own].groupby(["method", "policy"], sort=False):
        best, by, choices = best_of(rows)
        here = {name: best[name] for name in SETTINGS if name != "dataset"}
        same = results[(results[list(here)] == pd.Series(here)).all(axis=1)]
        reached = set(results.loc[results["policy"] == policy, "dataset"])
        for dataset in (name for name in sets if name in reached):
            found = same[same["dataset"] == dataset]
            row = dict(found.iloc[0]) if len(found) else {}
            told = {name: row.get(name, "") for name in (*(m + end for m in MEASURED for end in ENDS),)}
            sizes = {name: best[name] for name in SIZES}
            how = {"dataset": dataset, "chosen_by": by, "choices": str(choices)}
            parts.append({"method": method} | here | how | told | sizes)
    if acceptance is not None and steps is not None:
        missing = pd.DataFrame([row for row in parts if not row["predicted_speedup"] and row["accepted_mean"]])
        told_here = predicted(missing, acceptance, steps, bootstrap) if len(missing) else {}
        for row in parts:
            key = tuple(row[name] for name in SETTINGS)
            if key in told_here and not row["predicted_speedup"]:
                row.update(cell("predicted_speedup", told_here[key].speedup))
    return [{name: str(row[name]) for name in ("method", *SETTINGS, *COLUMNS[1 + len(SETTINGS) :])} for row in parts]


def lines_of(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """The table in Markdown, for a page: a line a row, intervals in brackets, empty where nothing was measured."""

    def told(row: Mapping[str, str], name: str, digits: int) -> str:
        value, low, high = (row[name + end] for end in ENDS)
        if not value:
            return ""
        interval = f" [{float(low):.{digits}f}, {float(high):.{digits}f}]" if low and high else ""
        return f"{float(value):.{digits}f}{interval}"

    names = ("method", "setting", "prompts", "accepted per cycle", "target calls per token", "speedup")
    more = ("predicted speedup", "trained parameters", "MB a draft step", "training tokens", "training s")
    lines = ["| " + " | ".join((*names, *more)) + " |", "|---" * len((*names, *more)) + "|"]
    for row in rows:
        cells = [
            f"`{row['method']}`",
            setting_text(row),
            row["dataset"],
            *(told(row, name, digits) for name, digits in zip(MEASURED, (2, 3, 2, 2), strict=True)),
            f"{int(float(row['trained_parameters'])):,}" if row["trained_parameters"] else "",
            f"{float(row['draft_step_bytes']) / 1e6:.1f}" if row["draft_step_bytes"] else "",
            f"{int(float(row['training_tokens'])):,}" if row["training_tokens"] else "",
            f"{float(row['training_seconds']):.0f}" if row["training_seconds"] else "",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def setting_text(row: Mapping[Any, Any], policy: bool = True) -> str:
    """A setting in a few words: `layer 21, gamma 4, adaptive`; what is as usual is not said, but for the gamma.

    Numbers may be text or floats; empty and NaN are nothing.
    """
    known = {
        name: row[name] for name in ("layer", "T", "gamma") if row[name] not in ("", None) and row[name] == row[name]
    }
    number = dict.fromkeys(("layer", "T", "gamma"), "") | {name: f"{float(x):g}" for name, x in known.items()}
    said = [
        f"layer {number['layer']}" if number["layer"] else "",
        f"T {number['T']}" if number["T"] not in ("", "1") else "",
        row["objective"] if row["objective"] != "kl" else "",
        f"gamma {number['gamma']}",
        row["drafting"] if row["drafting"] != "fixed" else "",
        row["policy"] if policy else "",
    ]
    return ", ".join(filter(None, said))
