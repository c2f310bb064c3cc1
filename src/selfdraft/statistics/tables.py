"""Raw tables -> results.csv: one row per measured point, every estimate with its interval."""

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from selfdraft.errors import StudyError
from selfdraft.files import whole_file
from selfdraft.statistics import estimates, speeds
from selfdraft.statistics.bootstrap import Bootstrap, Estimate
from selfdraft.statistics.columns import (
    CHECKPOINT,
    LOSSLESS,
    SETTINGS,
    SIZES,
    TRAINED,
    WITHOUT_INTERVAL,
    results_columns,
)
from selfdraft.statistics.raw_tables import read_raw, setting

Key = tuple[str, ...]


def groups(table: pd.DataFrame | None, columns: Sequence[str]) -> dict[Key, pd.DataFrame]:
    """Rows by settings; the keys are tuples of canonical strings."""
    if table is None:
        return {}
    return {tuple(map(str, key)): rows for key, rows in table.groupby(list(columns), sort=False)}


def _order(key: Key) -> tuple[Any, ...]:
    """Points in the order layer, T, capacity, policy, gamma, then whatever is left."""
    named = dict(zip(SETTINGS, key, strict=True))

    def number(name: str) -> float:
        return float(named[name]) if named[name] else -1.0

    return (number("layer"), number("T"), named["capacity"], named["policy"], number("gamma"), key)


def _only_one(rows: pd.DataFrame, columns: Sequence[str], path: Path, what: str) -> None:
    """Rows that are compared must come from one kind of run."""
    for column in columns:
        found = sorted(rows[column].unique())
        if len(found) > 1:
            raise StudyError(
                f"{path}: column {column}: {what} mixes {', '.join(map(repr, found))}; "
                "measure them in one run, or keep them in tables apart"
            )


def _checkpoint(key: Key) -> Key:
    return tuple(value for name, value in zip(SETTINGS, key, strict=True) if name in CHECKPOINT)


def _without_dataset(checkpoint: Key) -> Key:
    return tuple(value for name, value in zip(CHECKPOINT, checkpoint, strict=True) if name != "dataset")


def draft_key(config: Mapping[str, Any]) -> Key:
    """The settings of a trained draft, less its data set, from the config in its folder.

    An exit (or what has a layer and a capacity) is told by all of them, an entry of `drafters` by its name.
    """
    names = [name for name in CHECKPOINT if name != "dataset"]
    if "layer" not in config or "kind" in config:
        return (str(config["drafter"]), *("" for _ in names[1:]))
    return tuple(setting(str(config[name]), name, "config.json") for name in names)


def make_results(
    quality: Path | None,
    acceptance: Path | None,
    speed: Path | None,
    steps: Path | None,
    bandwidth_gb_s: float | None,
    bootstrap: Bootstrap,
    commit: str,
    config_hash: str,
    drafters: Mapping[Key, Mapping[str, Any]] | None = None,
) -> tuple[list[str], list[dict[str, str]]]:
    """The columns and the rows of results.csv, as text. `drafters` are the configs of what was trained, by
    its settings (`draft_key`).

    A row for each point of the acceptance and speed tables, with its checkpoint's quality; a
    checkpoint that has quality alone gets one row without policy and gamma. What was not measured
    is empty. Raises StudyError naming the file and column that is wrong.
    """
    tables = {
        kind: None if path is None else read_raw(path, kind)
        for kind, path in (("quality", quality), ("acceptance", acceptance), ("speed", speed), ("steps", steps))
    }
    speculative = baselines = tables["speed"]
    if tables["speed"] is not None and speed is not None:
        is_ours = tables["speed"]["method"] == "speculative"
        speculative, baselines = tables["speed"][is_ours], tables["speed"][~is_ours]
        for (policy, _), runs in tables["speed"].groupby(["policy", "dataset"]):
            _only_one(runs, ("dtype", "threads", "device"), speed, f"policy {policy}")
    of_quality = groups(tables["quality"], CHECKPOINT)
    of_acceptance = groups(tables["acceptance"], SETTINGS)
    of_speed = groups(speculative, SETTINGS)
    of_baseline = groups(baselines, ("method", "policy", "dataset"))
    of_steps = groups(tables["steps"], SETTINGS)
    vanilla_steps: dict[Key, pd.DataFrame] = {}
    if tables["steps"] is not None and steps is not None:
        only = tables["steps"][tables["steps"]["step"] == "vanilla"]
        vanilla_steps = groups(only, ("policy", "dataset"))
        for (policy, _), runs in tables["steps"].groupby(["policy", "dataset"]):
            _only_one(runs, ("dtype", "threads", "device"), steps, f"policy {policy}")

    points = set(of_acceptance) | set(of_speed)
    alone = set(of_quality) - {_checkpoint(key) for key in points}
    for checkpoint in alone:
        named = dict(zip(CHECKPOINT, checkpoint, strict=True))
        points.add(tuple(named.get(name, "") for name in SETTINGS))
    if not points:
        raise StudyError(f"{speed}: column method: no speculative rows; measure at least one point")

    formats = {
        str(found) for table in tables.values() if table is not None and "dtype" in table for found in table["dtype"]
    }
    weights = sorted({found.partition("+")[2] for found in formats} - {""})
    quantised = f" ({', '.join(weights)} weights)" if weights else ""  # a study has one target

    # How much of a draft was trained does not depend on the text that it is measured on.
    sizes = {
        _without_dataset(checkpoint): {column: number_text(measured[column].iloc[0]) for column in TRAINED}
        for checkpoint, measured in of_quality.items()
    }
    rows: list[dict[str, str]] = []
    max_gamma = 0
    of_checkpoint: dict[Key, dict[str, Estimate]] = {}
    for key in sorted(points, key=_order):
        named = dict(zip(SETTINGS, key, strict=True))
        name, checkpoint = "/".join(key), _checkpoint(key)
        row = dict(named)
        found: dict[str, Estimate] = {}
        if checkpoint in of_quality:
            if checkpoint not in of_checkpoint:
                of_checkpoint[checkpoint] = estimates.quality(of_quality[checkpoint], bootstrap, "/".join(checkpoint))
            found |= of_checkpoint[checkpoint]
        row |= sizes.get(_without_dataset(checkpoint), {})
        told = (drafters or {}).get(_without_dataset(checkpoint), {})
        row |= {column: number_text(told[column]) for column in SIZES if told.get(column) is not None}
        row[LOSSLESS] = str(told.get(LOSSLESS, "base")) + quantised
        if key in of_acceptance and acceptance is not None:
            cycles = of_acceptance[key]
            _only_one(cycles, ("dtype",), acceptance, f"point {name}")
            gamma = int(named["gamma"])
            max_gamma = max(max_gamma, gamma)
            found |= estimates.acceptance(cycles, gamma, bootstrap, name)
            row["identical"] = number_text(estimates.identical(cycles))
        if key in of_speed and baselines is not None:
            where = (named["policy"], named["dataset"])
            nothing = baselines.iloc[:0]
            table = None
            if key in of_steps and where in vanilla_steps:
                table = speeds.steps_of(of_steps[key], vanilla_steps[where])
            found |= speeds.estimates(
                of_speed[key],
                of_baseline.get(("vanilla", *where), nothing),
                of_baseline.get(("transformers", *where), nothing),
                of_acceptance.get(key),
                table,
                bandwidth_gb_s,
                bootstrap,
                name,
            )
            if table is not None and "predicted_speedup" in found:
                found["predicted_speedup"] = _with_threads(found["predicted_speedup"], of_speed[key], of_steps[key])
        for column, estimate in found.items():
            row |= cell(column, estimate)
        row |= {"interval_note": note(found), "commit": commit, "config_hash": config_hash}
        rows.append(row)
    return results_columns(max_gamma), rows


def _with_threads(predicted: Estimate, runs: pd.DataFrame, steps: pd.DataFrame) -> Estimate:
    """A prediction that says so if its steps were timed with another number of threads than the runs."""
    ours, theirs = runs["threads"].iloc[0], steps["threads"].iloc[0]
    if ours == theirs:
        return predicted
    return replace(predicted, note=f"steps were timed with {theirs} threads, runs with {ours}")


def number_text(value: float | None) -> str:
    """Nine significant digits, whole numbers whole; empty for what was not measured."""
    if value is None or value != value:
        return ""
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else f"{value:.9g}"


def cell(name: str, estimate: Estimate) -> dict[str, str]:
    """The text of one estimate and of its interval, by column."""
    made = {name: number_text(estimate.value)}
    if name not in WITHOUT_INTERVAL:
        made |= {f"{name}_low": number_text(estimate.low), f"{name}_high": number_text(estimate.high)}
    return made


def note(found: dict[str, Estimate]) -> str:
    """Each unusual interval once, with the names it concerns: "no interval: 5 prompts, … (tv, overlap)"."""
    names = defaultdict(list)
    for name, estimate in found.items():
        if estimate.note:
            names[estimate.note].append(name)
    return "; ".join(f"{note} ({', '.join(which)})" for note, which in names.items())


def write_results(path: Path, columns: Sequence[str], rows: Sequence[dict[str, str]]) -> None:
    """Write results.csv whole; a column that a row lacks is empty."""
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
