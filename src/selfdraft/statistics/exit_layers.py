"""Where drafted tokens left, and what that was worth: a row per drafter with several heads and layer.

The exits that the study measures alone stand beside them, each a row: all of their tokens leave at one layer. The best
of those at the layers of a drafter's own heads is what the drafter is compared with, paired by prompt (`chosen_best`).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from selfdraft.errors import StudyError
from selfdraft.statistics.bootstrap import Bootstrap, Estimate
from selfdraft.statistics.chosen_best import Sums, chosen_text, compare_best
from selfdraft.statistics.columns import SETTINGS
from selfdraft.statistics.differences import Tables
from selfdraft.statistics.tables import cell, note, number_text

FIXED, LEVELS, BEST_LEVEL = "fixed_exit", "adaptive_early_exit", "best_level"
ALIKE = ("policy", "gamma", "dataset", "drafting")  # points are compared with those that are alike in these
MEASURED = ("speedup", "accept_rate")
COMPARED = {"speedup": "speedup_over_fixed", "accepted_mean": "accepted_over_fixed"}
ENDS = ("", "_low", "_high")
_OF_HEAD = ("drafter", "layer")  # a row of asking a head has the settings of its point, but the head's layer
COLUMNS = (
    *SETTINGS,
    *("kind", "heads", "accuracy_level", "measure", "rule", "risk", "left", "drafted", "prompts"),
    *(name + end for name in ("share", *MEASURED) for end in ENDS),
    *("ask_ms", "ask_share", "ask_share_by_bytes"),
    *("fixed_layers", "levels"),
    *(name + end for name in COMPARED.values() for end in ENDS),
    "interval_note",
)


class Asked(NamedTuple):
    """A drafter with several heads: its kind, the name of the heads, and which thresholds it asks them by, if any."""

    kind: str
    heads: str
    accuracy_level: str = ""
    measure: str = ""
    rule: str = ""
    risk: str = ""


class Heads(NamedTuple):
    """What the heads of a folder are, in the words of a table: the exits that they may be compared with are alike."""

    layers: frozenset[str]
    capacity: str
    T: str


def exit_layer_rows(
    results: pd.DataFrame,
    acceptance: pd.DataFrame,
    asked: Mapping[str, Asked],
    bootstrap: Bootstrap,
    tables: Tables | None = None,
    heads: Mapping[str, Heads] | None = None,
    steps: pd.DataFrame | None = None,
) -> list[dict[str, str]]:
    """The rows of exit_layers.csv, in the order of results.csv; `layer` is that which tokens left after.

    `share` is of the tokens that were drafted, with an interval over prompts; `speedup` and `accept_rate` are those of
    results.csv, the same in all rows of a point. A drafter that drafted nothing has one row without a layer.

    `speedup_over_fixed` and `accepted_over_fixed` are what it does beyond the fastest exit measured alone at the layers
    of its heads, of their capacity and T. A row of kind BEST_LEVEL says it of the fastest of the adaptive drafters that
    ask the same heads alike, chosen by halves of the prompts as the exit is; it names the one that all prompts choose.

    `ask_ms` is what asking the head at that layer once takes (median), `ask_share` that over a vanilla step, and
    `ask_share_by_bytes` what the cost model says of it: the share of a vanilla step's bytes that the head reads.

    Args: results: as `methods.read_points` reads it; acceptance: raw rows; asked: the drafters by name; tables: the raw
    rows that comparisons are made of (None: nothing is compared); heads: by their name; steps: the raw step table.
    Raises: StudyError for a drafter of which no row of the raw table says where its tokens left.
    """
    made = []
    layers = _layers_of(acceptance, asked)
    comparisons, best = ({}, []) if tables is None else _compared(results, asked, tables, heads or {})
    for _, point in results.iterrows():
        if point["drafter"] not in asked and point["layer"] == "":
            continue
        told = {name: point[name] for name in SETTINGS}
        told |= {name + end: point.get(name + end, "") for name in MEASURED for end in ENDS}
        if point["drafter"] not in asked:
            made.append(told | {"kind": FIXED, "share": "1"})
            continue
        told |= asked[point["drafter"]]._asdict()
        same = pd.concat([acceptance[name] == point[name] for name in SETTINGS], axis=1).all(axis=1)
        name, known = "/".join(point[key] for key in SETTINGS), layers[asked[point["drafter"]].heads]
        compared, notes = comparisons.get(_key(told), ({}, ""))
        for layer, cells in _left(acceptance[same], name, known, bootstrap):
            noted = "; ".join(filter(None, (cells.get("interval_note", ""), notes)))
            asking = _asking(steps, told | {"layer": layer})
            made.append(told | {"layer": layer} | cells | asking | compared | {"interval_note": noted})
    return made + best


class _Points:
    """The points of a study that are compared, their sums by prompt, and what the comparisons say."""

    def __init__(self, results: pd.DataFrame, asked: Mapping[str, Asked], tables: Tables) -> None:
        self.tables, self.asked = tables, asked
        self.points = [{name: str(point[name]) for name in SETTINGS} for _, point in results.iterrows()]
        fixed = [point for point in self.points if point["drafter"] not in asked and point["layer"] != ""]
        first: dict[tuple[str, ...], dict[str, str]] = {}  # of several training seeds the first one
        for point in sorted(fixed, key=lambda point: float(point["seed"] or 0)):
            first.setdefault(tuple(point[name] for name in SETTINGS if name != "seed"), point)
        self.fixed = [point for point in fixed if point in first.values()]

    def several(self) -> Iterator[tuple[list[dict[str, str]], Asked, str]]:
        """Each point with several heads by itself, then those that differ in their level alone, together."""
        groups: dict[tuple[str, ...], list[dict[str, str]]] = {}
        for point in self.points:
            if point["drafter"] not in self.asked:
                continue
            told = self.asked[point["drafter"]]
            yield [point], told, told.kind
            if told.kind == LEVELS:
                alike = (told.heads, told.measure, told.rule, told.risk, *(point[name] for name in ALIKE))
                groups.setdefault(alike, []).append(point)
        for points in groups.values():
            yield points, self.asked[points[0]["drafter"]], BEST_LEVEL

    def comparable(self, point: Mapping[str, str], heads: Heads) -> list[dict[str, str]]:
        """The exits measured alone that are as one of these heads is, under the same policy and so on."""
        return [
            one
            for one in self.fixed
            if one["layer"] in heads.layers
            and (one["capacity"], one["T"]) == (heads.capacity, heads.T)
            and all(one[name] == point[name] for name in ALIKE)
        ]

    def sums(self, points: Sequence[Mapping[str, str]]) -> list[Sums]:
        found = []
        for point in points:
            speed = self.tables.sums(point, "speedup")
            speed = pd.DataFrame() if speed is None else speed
            found.append(Sums(speed, self.tables.sums(point, "accepted_mean")))
        return found


def _compared(
    results: pd.DataFrame, asked: Mapping[str, Asked], tables: Tables, heads: Mapping[str, Heads]
) -> tuple[dict[tuple[str, ...], tuple[dict[str, str], str]], list[dict[str, str]]]:
    """The cells and the note of each point with several heads, and the rows of kind BEST_LEVEL."""
    points, cells, best = _Points(results, asked, tables), {}, []
    for group, told, kind in points.several():
        fixed = points.comparable(group[0], heads[told.heads])
        name = "/".join([kind, *(_key(point)[0] for point in group), *(group[0][key] for key in ALIKE)])
        found = compare_best(points.sums(fixed), points.sums(group), tables.bootstrap, name)
        made = {COMPARED["speedup"]: found.speedup, COMPARED["accepted_mean"]: found.accepted_mean}
        row = {column: text for key, estimate in made.items() for column, text in cell(key, estimate).items()}
        if found.chosen is not None:
            row["fixed_layers"] = chosen_text(found.chosen[0], [point["layer"] for point in fixed])
            levels = [asked[point["drafter"]].accuracy_level for point in group]
            row["levels"] = chosen_text(found.chosen[1], levels)
            if kind == BEST_LEVEL:
                chosen = group[found.chosen[1][-1]]
                about = chosen | asked[chosen["drafter"]]._asdict() | {"kind": kind, "interval_note": note(made)}
                best.append(about | row)
        if kind != BEST_LEVEL:
            cells[_key(group[0])] = (
                row,
                note(made) if fixed else "no exit was measured alone that is as its heads are",
            )
    return cells, best


def _asking(steps: pd.DataFrame | None, point: Mapping[str, str]) -> dict[str, str]:
    """What asking the head at a point's layer takes, by the steps of its policy and data set; empty if not timed."""
    if steps is None:
        return {}
    same = steps[(steps["policy"] == point["policy"]) & (steps["dataset"] == point["dataset"])]
    ask = same[(same["step"] == "ask") & (same[list(_OF_HEAD)] == [point[name] for name in _OF_HEAD]).all(axis=1)]
    vanilla = same[same["step"] == "vanilla"]
    if ask.empty or vanilla.empty:
        return {}
    seconds, step = (float(table["seconds"].median()) for table in (ask, vanilla))
    by_bytes = float(ask["bytes"].median() / vanilla["bytes"].median())
    numbers = {"ask_ms": 1000 * seconds, "ask_share": seconds / step, "ask_share_by_bytes": by_bytes}
    return {name: number_text(value) for name, value in numbers.items()}


def _key(point: Mapping[Any, Any]) -> tuple[str, ...]:
    return tuple(str(point[name]) for name in SETTINGS)


def _layers_of(acceptance: pd.DataFrame, asked: Mapping[str, Asked]) -> dict[str, list[str]]:
    """The layers at which any token left, ascending, by the name of the heads."""
    found: dict[str, set[str]] = {one.heads: set() for one in asked.values()}
    for drafter, rows in acceptance[acceptance["drafter"].isin(asked)].groupby("drafter"):
        found[asked[str(drafter)].heads] |= {*rows["exit_layers"].str.split().explode().dropna()}
    return {heads: sorted(layers, key=int) for heads, layers in found.items()}


def _left(
    rows: pd.DataFrame, name: str, known: list[str], bootstrap: Bootstrap
) -> Iterator[tuple[str, dict[str, str]]]:
    """Each known layer, ascending, and the cells that say how many tokens of one point left there, of all."""
    if rows.empty:
        return
    if rows["drafted"].sum() and not (rows["exit_layers"] != "").any():
        raise StudyError(f"{name}: the acceptance table does not say where its tokens left; measure it again")
    layers = rows["exit_layers"].str.split().explode().dropna()
    counts = pd.crosstab(rows["prompt"].loc[layers.index].to_numpy(), layers.to_numpy())
    drafted = rows.groupby("prompt", sort=True)["drafted"].sum()
    about = {"prompts": str(len(drafted)), "drafted": number_text(float(drafted.sum()))}
    if counts.empty:
        yield "", about
        return
    counts = counts.reindex(index=drafted.index, columns=known, fill_value=0)
    for layer in known:
        found: dict[str, Estimate] = {
            "share": bootstrap.ratio(counts[layer], drafted, (name, f"left at {layer}"), "prompts")
        }
        left: dict[str, Any] = {"left": number_text(float(counts[layer].sum())), "interval_note": note(found)}
        yield str(layer), about | left | cell("share", found["share"])
