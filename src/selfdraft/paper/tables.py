"""The paper's tables: for each its columns and rows, as they are set in type. Columns are what readers know them by."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from selfdraft.capacities import CAPACITIES
from selfdraft.paper.cells import NONE, estimate, is_known, number, plain, whole
from selfdraft.paper.measured import Measured, Row, is_itself, most

MOST_LAYERS, MOST_ROWS = 8, 16  # of a table that has to stand on a page
DRAFT = ("drafter", "layer", "T", "capacity", "objective", "seed", "gamma", "drafting")
VARIED = {"gamma": "draft length", "T": "temperature of the loss", "objective": "objective", "drafting": "drafting"}


@dataclass(frozen=True)
class Table:
    """Columns and rows of text. Without rows nothing of it was measured; `left_out` counts rows that had no room."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left_out: int = 0

    @property
    def align(self) -> str:
        """A letter a column, l for words and r for numbers; the first column is always of words."""
        rest = zip(*self.rows, strict=True) if self.rows else [()] * len(self.columns)
        letters = ["r" if all(text[:1] in NUMERIC for text in cells) else "l" for cells in rest]
        return "".join(["l", *letters[1:]])


NUMERIC = {"", NONE, "−", *"0123456789"}


def tables(study: Measured) -> dict[str, Table]:
    """The tables of results by name."""
    made: dict[str, Callable[[Measured], Table]] = {
        "exits": exits,
        "methods": methods,
        "capacities": capacities,
        "variations": variations,
        "domains": domains,
        "batch": batch,
        "peers": peers,
        "identity": identity,
        "compile": compiled,
    }
    return {name: make(study) for name, make in made.items()}


def of_rows(columns: Mapping[str, Callable[[Row], str]], rows: Iterable[Row], left_out: int = 0) -> Table:
    """A table of one cell a column and row; a column of dashes alone is left out."""
    found = [[make(row) for make in columns.values()] for row in rows]
    kept = [place for place in range(len(columns)) if not found or any(cells[place] != NONE for cells in found)]
    names = list(columns)
    return Table(
        tuple(names[place] for place in kept),
        tuple(tuple(cells[place] for place in kept) for cells in found),
        left_out,
    )


def records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as mappings."""
    return [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]


def measure(name: str) -> Callable[[Row], str]:
    """The cell of an estimate."""
    return lambda row: estimate(row, name)


def value(name: str) -> Callable[[Row], str]:
    """The cell of a setting."""
    return lambda row: plain(row.get(name))


def evenly(values: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of the values, the first and the last among them, evenly apart."""
    if len(values) <= count:
        return list(values)
    return [values[round(place * (len(values) - 1) / (count - 1))] for place in range(count)]


def rank(capacity: str) -> tuple[int, str]:
    """Capacities in the project's order, from few trained parameters to many."""
    return (CAPACITIES.index(capacity) if capacity in CAPACITIES else len(CAPACITIES), capacity)


def by_depth(study: Measured) -> pd.DataFrame:
    """The usual exits of the capacities that were measured at most layers, under all policies."""
    rows = study.exits("policy")
    rows = rows[rows["gamma"].notna() | rows["kl_at_1"].notna()] if "kl_at_1" in rows else rows
    if rows.empty:
        return rows
    counts = rows.groupby("capacity")["layer"].nunique()
    return rows[rows["capacity"].isin(counts[counts == counts.max()].index)]


def exits(study: Measured) -> Table:
    """Quality, acceptance and speed by exit layer and capacity; a column for acceptance and speed of each policy."""
    rows = by_depth(study)
    shown = evenly(sorted(rows["layer"].unique()), MOST_LAYERS)
    points: dict[tuple[float, tuple[int, str]], dict[str, Any]] = {}
    for row in records(rows[rows["layer"].isin(shown)]):
        points.setdefault((row["layer"], rank(row["capacity"])), {})[row["policy"]] = row

    def under(policy: str, name: str) -> Callable[[Row], str]:
        return lambda point: estimate(point[policy], name) if policy in point else NONE

    def any_of(make: Callable[[Row], str]) -> Callable[[Row], str]:
        return lambda point: make(next(iter(point.values())))

    policies = study.policies[:2]
    columns: dict[str, Callable[[Row], str]] = {
        "exit layer": any_of(value("layer")),
        "trained": any_of(value("capacity")),
        "KL to the target, nats": any_of(measure("kl_at_1")),
        "top-1": any_of(measure("top1")),
        **{f"accepted, {policy}": under(policy, "accepted_mean") for policy in policies},
        **{f"speedup, {policy}": under(policy, "speedup") for policy in policies},
    }
    left_out = rows["layer"].nunique() - len(shown)
    return of_rows(columns, (points[key] for key in sorted(points)), left_out)


def best(rows: Iterable[Row]) -> Row | None:
    """The fastest of some points; of those without a speed the one that accepts most."""
    found = list(rows)
    timed = [row for row in found if is_known(row.get("speedup"))]
    if timed:
        return max(timed, key=lambda row: float(row["speedup"]))
    counted = [row for row in found if is_known(row.get("accepted_mean"))]
    return max(counted, key=lambda row: float(row["accepted_mean"])) if counted else None


def method_of(study: Measured, row: Row) -> str:
    """What a point drafts with, in words: its capacity or drafter, and the way of drafting that is not the usual."""
    if is_known(row.get("layer")):
        name = f"exit, {row['capacity']}"
    else:
        kind = study.kind(str(row["drafter"]))
        name = str(row["drafter"]) if kind == row["drafter"] else f"{row['drafter']} ({kind})"
    return name if row["drafting"] == study.usual["drafting"] else f"{name}, {row['drafting']}"


def best_of_methods(study: Measured) -> list[Row]:
    """The best point of each method under the usual policy, the fastest first; none that is the target itself."""
    rows = study.results
    rows = rows[(rows["dataset"] == study.dataset) & (rows["policy"] == study.policy)]
    groups: dict[str, list[Row]] = {}
    for row in records(rows):
        if not is_itself(row):
            groups.setdefault(method_of(study, row), []).append(row)
    found = [point for point in map(best, groups.values()) if point is not None]
    return sorted(found, key=lambda row: (-_or_zero(row.get("speedup")), -_or_zero(row.get("accepted_mean"))))


def _or_zero(found: Any) -> float:
    return float(found) if is_known(found) else 0.0


def methods(study: Measured) -> Table:
    """The best point of each method, the fastest first."""
    columns: dict[str, Callable[[Row], str]] = {
        "method": lambda row: method_of(study, row),
        "layer": value("layer"),
        "draft length": value("gamma"),
        "accepted": measure("accepted_mean"),
        "draft, ms a cycle": lambda row: number(row.get("draft_ms"), 1),
        "verify, ms a cycle": lambda row: number(row.get("verify_ms"), 1),
        "speedup": measure("speedup"),
        "predicted": measure("predicted_speedup"),
    }
    found = best_of_methods(study)
    return of_rows(columns, found[:MOST_ROWS], len(found[MOST_ROWS:]))


def without_itself(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows without those that draft with the target itself."""
    return rows.loc[[not is_itself(row) for row in records(rows)]]


def of_one_layer(study: Measured) -> pd.DataFrame:
    """The usual exits at the layer where most capacities were measured, from few trained parameters to many."""
    rows = without_itself(study.exits())
    counts = rows.groupby("layer")["capacity"].nunique()
    if counts.empty or counts.max() < 2:
        return rows.iloc[:0]
    rows = rows[rows["layer"] == counts[counts == counts.max()].index[-1]]
    return rows.sort_values("capacity", key=lambda names: names.map(lambda name: rank(name)[0]), kind="stable")


def capacities(study: Measured) -> Table:
    """What is trained of an exit at one layer."""
    columns: dict[str, Callable[[Row], str]] = {
        "trained": value("capacity"),
        "parameters": lambda row: whole(row.get("trained_parameters")),
        "KL, nats": measure("kl_at_1"),
        "accepted": measure("accepted_mean"),
        "speedup": measure("speedup"),
    }
    return of_rows(columns, records(of_one_layer(study)))


def families(study: Measured, setting: str) -> Iterator[pd.DataFrame]:
    """Usual exits, and other drafters, that differ in one setting alone: a table of at least two values each."""
    rows = without_itself(study.points(setting))
    rest = [name for name in (*DRAFT, "policy") if name != setting]
    for _, family in rows.groupby(rest, dropna=False, sort=True):
        if family[setting].nunique() > 1:
            yield family.sort_values(setting, kind="stable")


def variations(study: Measured) -> Table:
    """Draft length, temperature, objective and way of drafting, each varied alone on the draft that has most values."""
    columns: dict[str, Callable[[Row], str]] = {
        "varied": lambda row: str(row["name"]),
        "value": lambda row: plain(row[row["varied"]]),
        "draft": lambda row: of_draft(row),
        "KL, nats": measure("kl_at_1"),
        "accepted": measure("accepted_mean"),
        "speedup": measure("speedup"),
    }
    rows: list[dict[str, Any]] = []
    for setting, name in VARIED.items():
        family = widest(study, setting)
        if family is not None:
            rows += [row | {"varied": setting, "name": name} for row in records(family)]
    return of_rows(columns, rows)


def widest(study: Measured, setting: str) -> pd.DataFrame | None:
    """Of `families` the one of most values, the deepest exit of several; None if nothing was varied."""
    found = list(families(study, setting))
    return max(found, key=lambda rows: (len(rows), rows["layer"].fillna(-1).iloc[0])) if found else None


def of_draft(row: Row) -> str:
    """A draft in a few words: head_block at layer 21, or lookup."""
    return f"{row['capacity']} at layer {plain(row['layer'])}" if is_known(row.get("layer")) else str(row["drafter"])


def by_text(study: Measured) -> pd.DataFrame:
    """The usual points of the drafts that were measured on other text too; a row a text and draft."""
    rows = study.results
    usual = study.usual
    keep = rows["policy"].isin(["", study.policy]) & (rows["drafting"] == usual["drafting"])
    for name in ("T", "objective", "seed", "gamma"):
        keep &= (rows[name] == usual[name]) | rows[name].isna() | (rows[name] == "")
    rows = rows[keep]
    drafts = ["drafter", "layer", "capacity"]
    texts = rows.groupby(drafts, dropna=False)["dataset"].transform("nunique")
    return rows[texts > 1].sort_values(drafts, kind="stable")


def domains(study: Measured) -> Table:
    """Quality and acceptance by text; the study's own first."""
    found = by_text(study)
    order = [study.dataset, *(name for name in found["dataset"].unique() if name != study.dataset)]
    columns: dict[str, Callable[[Row], str]] = {
        "text": value("dataset"),
        "draft": of_draft,
        "KL, nats": measure("kl_at_1"),
        "top-1": measure("top1"),
        "accepted": measure("accepted_mean"),
    }
    rows = sorted(records(found), key=lambda row: order.index(row["dataset"]))
    return of_rows(columns, rows[:MOST_ROWS], len(rows[MOST_ROWS:]))


def batch(study: Measured) -> Table:
    """Speed by batch size."""
    rows = study.beside("batch")
    columns: dict[str, Callable[[Row], str]] = {
        "batch": value("batch"),
        "draft": of_draft,
        "vanilla, tokens/s": measure("vanilla_tps"),
        "speculative, tokens/s": measure("spec_tps"),
        "speedup": measure("speedup"),
    }
    rows = rows[rows["policy"] == study.policy] if "policy" in rows else rows
    return of_rows(columns, records(rows)[:MOST_ROWS], len(rows[MOST_ROWS:]))


def peers(study: Measured) -> Table:
    """The same methods in several implementations, in the number format and batch of which most was measured."""
    rows = study.beside("peers")
    for name in ("dtype", "batch"):
        if name in rows and len(rows):
            rows = rows[rows[name] == most(rows[name])]
    columns: dict[str, Callable[[Row], str]] = {
        "method": value("method"),
        "implementation": lambda row: " ".join(filter(None, (str(row["implementation"]), row.get("version") or ""))),
        "tokens/s": measure("tokens_per_second"),
        "to transformers": measure("ratio_to_transformers"),
        "accepted": measure("accepted_mean"),
    }
    order = {name: place for place, name in enumerate(rows["method"].unique())}
    found = sorted(records(rows), key=lambda row: order[row["method"]])
    return of_rows(columns, found[:MOST_ROWS], len(found[MOST_ROWS:]))


def identity(study: Measured) -> Table:
    """Greedy output against vanilla decoding's, by drafter and number format."""
    columns: dict[str, Callable[[Row], str]] = {
        "draft": lambda row: method_of(study, {"drafting": study.usual["drafting"], **row}),
        "format": value("dtype"),
        "prompts": lambda row: whole(row.get("prompts")),
        "identical": measure("identical"),
        "gap where first apart": measure("top2_gap_median"),
    }
    rows = records(study.beside("identity"))
    return of_rows(columns, rows[:MOST_ROWS], len(rows[MOST_ROWS:]))


def compiled(study: Measured) -> Table:
    """One step of the target's first layers, eagerly and compiled; modes that the device lacks are left out."""
    columns: dict[str, Callable[[Row], str]] = {
        "layers": value("depth"),
        "mode": value("mode"),
        "step, ms": measure("step_ms"),
        "times as fast": lambda row: number(row.get("ratio_to_eager")),
        "to compile, s": measure("compile_s"),
    }
    rows = [row for row in records(study.beside("compile")) if is_known(row["step_ms"])]
    return of_rows(columns, rows[:MOST_ROWS], len(rows[MOST_ROWS:]))
