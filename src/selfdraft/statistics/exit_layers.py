"""Where drafted tokens left, and what that was worth: a row per drafter with several heads and layer.

The exits that the study measures alone stand beside them, each a row: all of their tokens leave at one layer.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from selfdraft.errors import StudyError
from selfdraft.statistics.bootstrap import Bootstrap, Estimate
from selfdraft.statistics.columns import SETTINGS
from selfdraft.statistics.tables import cell, note, number_text

FIXED = "fixed_exit"
MEASURED = ("speedup", "accept_rate")
ENDS = ("", "_low", "_high")
COLUMNS = (
    *SETTINGS,
    *("kind", "heads", "accuracy_level", "measure", "rule", "left", "drafted", "prompts"),
    *(name + end for name in ("share", *MEASURED) for end in ENDS),
    "interval_note",
)


class Asked(NamedTuple):
    """A drafter with several heads: its kind, the name of the heads, and which thresholds it asks them by, if any."""

    kind: str
    heads: str
    accuracy_level: str = ""
    measure: str = ""
    rule: str = ""


def exit_layer_rows(
    results: pd.DataFrame, acceptance: pd.DataFrame, asked: Mapping[str, Asked], bootstrap: Bootstrap
) -> list[dict[str, str]]:
    """The rows of exit_layers.csv, in the order of results.csv; `layer` is that which tokens left after.

    `share` is of the tokens that were drafted, with an interval over prompts; `speedup` and `accept_rate` are those of
    results.csv, the same in all rows of a point. A drafter that drafted nothing has one row without a layer.

    Args: results: as `methods.read_points` reads it; acceptance: raw rows; asked: the drafters by name.
    Raises: StudyError for a drafter of which no row of the raw table says where its tokens left.
    """
    made = []
    layers = _layers_of(acceptance, asked)
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
        for layer, cells in _left(acceptance[same], name, known, bootstrap):
            made.append(told | {"layer": layer} | cells)
    return made


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
