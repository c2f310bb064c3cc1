"""Would it pay on another machine: acceptance from one place, step times from another, one cost model.

Acceptance is a property of the draft and the text, step times are one of the machine. Draft lengths that were not run
are told from those that were:

- shorter than one that was run: its cycles, cut off at the shorter length;
- longer than all that were run: each cycle of the longest one that was accepted whole goes on, and each further token
  is accepted as often as the last one was after all before it (`accept_at_gamma`): geometric, equation 1 of Leviathan
  et al. 2023. Drafts get worse with length if anything, so that this is an upper end;
- of a drafter that ends its drafts itself (lookup, ways of drafting) no longer draft is told.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from selfdraft.statistics import cost_model
from selfdraft.statistics.bootstrap import Bootstrap, Estimate, Floats
from selfdraft.statistics.columns import SETTINGS
from selfdraft.statistics.cost_model import Steps
from selfdraft.statistics.estimates import measured
from selfdraft.statistics.speeds import seconds_of, steps_of

TIMED = ("drafter", "layer", "capacity", "drafting")  # what a step's time depends on, beside the policy
HOW = ("run", "shortened", "extended")


@dataclass(frozen=True)
class Prediction:
    """A point on the machine of the steps. `from_gamma`: the draft length whose cycles it is told from."""

    settings: dict[str, str]
    from_gamma: int
    how: str
    accepted_mean: Estimate
    speedup: Estimate

    @property
    def gamma(self) -> int:
        return int(self.settings["gamma"])

    @property
    def name(self) -> str:
        """What a table's row is called: `early_exit layer 21 head_block T 1.0`."""
        said = self.settings
        trained = [f"layer {said['layer']}", said["capacity"], f"T {said['T']}"] if said["layer"] else []
        odd = [
            said["objective"] if said["objective"] not in ("", "kl") else "",
            f"seed {said['seed']}" if said["seed"] not in ("", "0") else "",
            said["drafting"] if said["drafting"] != "fixed" else "",
        ]
        return " ".join([said["drafter"], *trained, *filter(None, odd)])

    @property
    def verdict(self) -> str:
        """What the data say: whether the interval lies above 1, below it, or holds it."""
        low, high = self.speedup.low, self.speedup.high
        if low is None or high is None:
            return "pays, without an interval" if (self.speedup.value or 0.0) > 1 else "does not pay"
        return "pays" if low > 1 else "does not pay" if high <= 1 else "may pay: the interval holds 1"


def whole_cycles(rows: pd.DataFrame) -> pd.DataFrame:
    """The cycles that count; none if something of them was not measured."""
    whole = rows[rows["cut"] == 0]
    return whole if measured(whole, "accepted", "drafted") else whole.iloc[:0]


def told(
    rows: pd.DataFrame, source: int, gamma: int, steps: Steps, context: float, bootstrap: Bootstrap, point: str
) -> tuple[Estimate, Estimate]:
    """accepted_mean and speedup at `gamma` from the rows of a point that was run at `source`.

    Both are functions of sums over prompts, so that the intervals are the bootstrap's over prompts.
    """
    vanilla = cost_model.at(steps.vanilla, context)
    drafted, accepted = rows["drafted"].clip(upper=gamma), rows["accepted"].clip(upper=gamma)
    extra = max(0, gamma - source)
    whole = (rows["drafted"] == source) & (rows["accepted"] == source) & (extra > 0)
    tried = (rows["drafted"] == source) & (rows["accepted"] >= source - 1) & (extra > 0)
    # Who drafts on does so in every cycle, and pays for it whether or not it is accepted.
    lengths = drafted.where(drafted < source, drafted + extra)
    seconds = seconds_of(lengths, rows["looked_up"], steps, context)
    sums = (
        pd.DataFrame({"accepted": accepted, "whole": whole, "tried": tried, "seconds": seconds})
        .assign(cycles=1.0, prompt=rows["prompt"])
        .astype({"whole": float, "tried": float})
        .groupby("prompt", sort=True)[["accepted", "whole", "tried", "cycles", "seconds"]]
        .sum()
    )

    def mean(accepted: Any, whole: Any, tried: Any, cycles: Any) -> Any:
        alpha = np.divide(whole, np.where(np.asarray(tried) > 0, tried, 1.0))
        further = cost_model.expected_accepted(alpha, extra) if extra else 0.0
        return (accepted + whole * further) / cycles

    def speedup(accepted: Floats, whole: Floats, tried: Floats, cycles: Floats, seconds: Floats) -> Any:
        return cost_model.predicted_speedup(mean(accepted, whole, tried, cycles) + 1.0, vanilla, 0.0, seconds / cycles)

    columns = [sums[name].to_numpy(float) for name in sums]
    return (
        bootstrap.estimate(mean, columns[:4], (point, "accepted_mean"), "prompts"),
        bootstrap.estimate(speedup, columns, (point, "predicted_speedup"), "prompts"),
    )


def predictions(
    acceptance: pd.DataFrame, steps: pd.DataFrame, gammas: Iterable[int], context: float, bootstrap: Bootstrap
) -> tuple[list[Prediction], list[str]]:
    """All points of an acceptance table on the machine of a table of steps, best first; and whose steps are missing.

    `gammas` are told beside those that were run, as far as the rows allow.
    """
    found: list[Prediction] = []
    missing: dict[str, None] = {}
    names = [name for name in SETTINGS if name != "gamma"]
    for key, rows in acceptance.groupby(names, sort=False):
        settings = dict(zip(names, map(str, key if isinstance(key, tuple) else (key,)), strict=True))
        draft = " ".join(filter(None, (settings[name] for name in (*TIMED, "policy"))))
        if steps_for(steps, settings) is None:
            missing[draft] = None
            continue
        run = {int(str(gamma)): whole_cycles(of) for gamma, of in rows.groupby("gamma", sort=False)}
        run = {gamma: of for gamma, of in run.items() if len(of)}
        for gamma in sorted({*run, *gammas}) if run else []:
            source = source_of(gamma, run)
            own_length = settings["drafting"] != "fixed" or bool((run[source]["drafted"] < source).any())
            if (gamma != source and settings["drafting"] != "fixed") or (gamma > source and own_length):
                continue
            # A node of a tree takes longer to draft the more levels there are: fixed chains alone share their steps.
            own = (steps["gamma"].astype(str) == str(gamma)) | (steps["step"] == "vanilla")
            table = steps_for(steps if settings["drafting"] == "fixed" else steps[own], settings)
            if table is None:
                missing[draft] = None
                continue
            here = {**settings, "gamma": str(gamma)}
            point = "/".join(here[name] for name in SETTINGS)
            accepted, speedup = told(run[source], source, gamma, table, context, bootstrap, point)
            how = HOW[(gamma < source) + 2 * (gamma > source)]
            found.append(Prediction(here, source, how, accepted, speedup))
    order = sorted(found, key=lambda one: (-(one.speedup.value or 0.0), one.gamma, one.name))
    return order, list(missing)


def source_of(gamma: int, run: Iterable[int]) -> int:
    """The draft length whose cycles tell most of `gamma`: itself, the next longer one, or the longest."""
    return min((one for one in run if one >= gamma), default=max(run))


def steps_for(steps: pd.DataFrame, settings: dict[str, str]) -> Steps | None:
    """The steps of one draft under one policy, of all draft lengths together; None if they were not timed.

    Weights and text do not change what a step takes: temperature of training, objective, seed and data set are not
    asked for.
    """
    ours = (steps["policy"] == settings["policy"]) & (steps["step"] != "vanilla")
    for name in TIMED:
        ours &= steps[name] == settings[name]
    vanilla = steps[(steps["policy"] == settings["policy"]) & (steps["step"] == "vanilla")]
    return steps_of(steps[ours], vanilla)


def best_of(found: Sequence[Prediction]) -> dict[tuple[str, str], Prediction]:
    """The best point under each policy on each data set; `found` is best first."""
    best: dict[tuple[str, str], Prediction] = {}
    for one in found:
        best.setdefault((one.settings["policy"], one.settings["dataset"]), one)
    return best
