"""What a study measured, read from its tables alone, and which of its points are the usual ones."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from selfdraft.errors import StudyError
from selfdraft.figures.inputs import FIXED, read_results
from selfdraft.files import read_json, sha256_of
from selfdraft.provenance.tables import told_by
from selfdraft.statistics.raw_tables import numbers, read_text

Row = Mapping[str, Any]

# A draft that is nearly always accepted, or has as good as no KL, is the target itself: the last layer's exit.
ITSELF, NO_KL = 0.99, 0.001
# Tables that a study may lack, by name, and the columns without which a file is another table.
BESIDE = {
    "differences": ("varied", "first", "second"),
    "seed_spread": ("seeds",),
    "batch": ("batch", "vanilla_tps", "spec_tps", "speedup"),
    "peers": ("method", "implementation", "tokens_per_second"),
    "identity": ("drafter", "dtype", "identical"),
    "compile": ("depth", "mode", "step_ms"),
}
TEXTS = {"method", "implementation", "version", "mode", "note", "dtype", "device", "varied", "first", "second", "seeds"}
TEXTS |= {"drafter", "capacity", "objective", "policy", "dataset", "drafting", "interval_note", "commit", "config_hash"}
TEXTS |= {"sweep", "first_divergences"}


def beside(path: Path, name: str) -> pd.DataFrame:
    """A table beside results.csv: settings as text, all else as floats, empty as NaN. Raises StudyError for another."""
    table = read_text(path)
    missing = [column for column in BESIDE[name] if column not in table.columns]
    if missing:
        raise StudyError(f"{path}: column {', '.join(missing)} is missing; is this {name}.csv?")
    for column in table.columns:
        if column not in TEXTS:
            table[column] = numbers(table, column, path)
    return table


@dataclass(frozen=True)
class Measured:
    """The tables of one study. A table that it lacks is empty; so are the settings without a provenance.json.

    `config`: the study's settings; `surroundings`: the rest of provenance.json; `read`: sha256 by file, commits and
    config hashes of the tables.
    """

    results: pd.DataFrame
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    surroundings: Mapping[str, Any] = field(default_factory=dict)
    read: Mapping[str, Any] = field(default_factory=dict)

    def beside(self, name: str) -> pd.DataFrame:
        """One of the tables of BESIDE, without rows if the study lacks it."""
        return self.tables.get(name, pd.DataFrame(columns=list(BESIDE[name])))

    @cached_property
    def dataset(self) -> str:
        """The study's own text: that of the config, else the one of which most was measured."""
        named = self.config.get("data", {}).get("name")
        found = self.results["dataset"]
        return str(named if (found == named).any() else most(found))

    @cached_property
    def policies(self) -> list[str]:
        """The sampling policies of which something was measured, the usual one first: greedy if it is one of them."""
        found = [name for name in self.results["policy"].unique() if name]
        told = self.config.get("policies", {})
        greedy = [name for name in found if told.get(name, {}).get("temperature", name != "greedy") == 0]
        return [*greedy[:1], *(name for name in found if name not in greedy[:1])]

    @property
    def policy(self) -> str:
        """The usual policy; empty if nothing was decoded."""
        return self.policies[0] if self.policies else ""

    @cached_property
    def usual(self) -> dict[str, Any]:
        """The value of each setting that most points share; seed and objective are those of the config, if it says."""
        exits = self.results[self.results["layer"].notna() & (self.results["dataset"] == self.dataset)]
        exits = exits if len(exits) else self.results
        training = self.config.get("training", {})
        found = {"dataset": self.dataset, "policy": self.policy, "drafting": FIXED}
        for name in ("gamma", "T", "objective", "seed"):
            value = training.get(name)
            found[name] = value if (exits[name] == value).any() else most(exits[name])
        return found

    def points(self, *vary: str) -> pd.DataFrame:
        """The rows whose settings, but for those that `vary`, are the usual ones; what a drafter lacks is none."""
        rows = self.results
        for name, value in self.usual.items():
            if name not in vary:
                rows = rows[(rows[name] == value) | (rows[name].isna() | (rows[name] == "")) & rows["layer"].isna()]
        return rows.reset_index(drop=True)

    def exits(self, *vary: str) -> pd.DataFrame:
        """Of `points`, the exits."""
        rows = self.points(*vary)
        return rows[rows["layer"].notna()].reset_index(drop=True)

    def others(self, *vary: str) -> pd.DataFrame:
        """Of `points`, the drafters that are no exit."""
        rows = self.points(*vary)
        return rows[rows["layer"].isna()].reset_index(drop=True)

    def kind(self, drafter: str) -> str:
        """The kind of a drafter of the config; its name where the config does not say."""
        return str(self.config.get("drafters", {}).get(drafter, {}).get("kind", drafter))


def most(values: pd.Series) -> Any:
    """The value that occurs most often, the first of several; None if there is none."""
    counts = values[values.notna() & (values != "")].value_counts(sort=False)
    return None if counts.empty else counts.index[int(counts.to_numpy().argmax())]


def is_itself(row: Row) -> bool:
    """Whether a point drafts with the target itself, so that its depth and speed are no findings."""
    return bool(row.get("accept_rate", 0.0) >= ITSELF or row.get("kl_at_1", 1.0) <= NO_KL)


def read_study(results: Path, beside_it: Mapping[str, Path], provenance: Path | None = None) -> Measured:
    """The study of results.csv, of the tables `beside_it` by name, and of provenance.json.

    Raises StudyError for a file that is missing or is another one.
    """
    table = read_results(results)
    others = {name: beside(path, name) for name, path in beside_it.items()}
    said = {} if provenance is None else read_json(provenance)
    if not isinstance(said, dict) or (provenance is not None and not isinstance(said.get("config"), dict)):
        raise StudyError(f"{provenance}: no config in it; `selfdraft record` writes such a file")
    paths = {"results": results, **beside_it}
    told = [told_by(path) for path in paths.values()]
    read = {
        "tables": {path.name: sha256_of(path) for path in paths.values()},
        **{
            key: sorted({value for found in told for value in found.get(name, [])})
            for key, name in (("commits", "commit"), ("config_hashes", "config_hash"))
        },
    }
    surroundings = {key: value for key, value in said.items() if key != "config"}
    return Measured(table, others, said.get("config", {}), surroundings, read)
