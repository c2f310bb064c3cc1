"""Raw rows of the speed of one point -> its estimates, which single bad runs cannot move.

Counts (tokens, cycles) are exact whatever happens on the machine, so that they are summed. Times are not: each run
gives a time a step, each pair of neighbouring runs a ratio of two, and of all of them a trimmed mean counts. speedup is
tokens per cycle times the trimmed ratio of a vanilla step to a cycle. The bootstrap over prompts goes around all.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from selfdraft.statistics import cost_model
from selfdraft.statistics.bootstrap import Bootstrap, Estimate, Floats
from selfdraft.statistics.cost_model import Steps
from selfdraft.statistics.estimates import measured

CUT = 0.25  # of the runs at either end: the mean of the middle half


def middle(values: npt.ArrayLike, cut: float = CUT) -> Any:
    """The mean of the middle of `values [..., n]` without the share `cut` at either end; NaN are left out."""
    ordered = np.sort(np.asarray(values, dtype=np.float64), axis=-1)  # NaN last
    count = np.isfinite(ordered).sum(axis=-1, keepdims=True)
    place = np.arange(ordered.shape[-1])
    weight = np.clip(np.minimum(place + 1, (1 - cut) * count) - np.maximum(place, cut * count), 0.0, 1.0)
    return np.where(weight > 0, weight * ordered, 0.0).sum(axis=-1) / weight.sum(axis=-1)


def _joined(columns: Sequence[Floats]) -> Floats:
    """Columns `[..., units]` of one number a repeat -> all repeats of all units, `[..., units * repeats]`."""
    return np.concatenate(columns, axis=-1)


def by_repeat(values: "pd.Series[float]", units: pd.Index) -> list[Floats]:
    """Numbers of runs, indexed by prompt -> a column `[units]` for each place among a prompt's runs."""
    place = values.groupby(level=0).cumcount().to_numpy()
    table = pd.Series(values.to_numpy(float), index=[values.index, place]).unstack()
    return [table[number].reindex(units).to_numpy(float) for number in table.columns]


def step_ratios(rows: pd.DataFrame, base: pd.DataFrame) -> "pd.Series[float]":
    """Logarithm of a baseline step over a cycle, for each run that has a baseline beside it; indexed by prompt.

    Beside it: the baseline's run of the same prompt, repeat and pair; of a baseline that ran less often
    (transformers) the prompt's own.
    """
    step = base.assign(step=base["decode_s"] / base["new_tokens"])
    both = rows.merge(step[["prompt", "repeat", "pair", "step"]], on=["prompt", "repeat", "pair"])
    if both.empty:
        both = rows.merge(step.groupby("prompt")["step"].median().reset_index(), on="prompt")
    cycle = both["decode_s"] / both["cycles"]
    return pd.Series(np.log((both["step"] / cycle).to_numpy(float)), index=both["prompt"])


def speedup_columns(rows: pd.DataFrame, base: pd.DataFrame) -> pd.DataFrame:
    """What `speedup_of` takes, a row per prompt: tokens, cycles, and a column of ratios for each repeat."""
    if not measured(rows, "new_tokens", "decode_s", "cycles") or not measured(base, "new_tokens", "decode_s"):
        return pd.DataFrame()
    ratios = step_ratios(rows, base)
    units = pd.Index(sorted(ratios.index.unique()))
    counts = rows[rows["prompt"].isin(units)].groupby("prompt", sort=True)[["new_tokens", "cycles"]].sum()
    return counts.assign(**{f"ratio{n}": column for n, column in enumerate(by_repeat(ratios, units))})


class Speeds:
    """The estimates of one point; see `estimates`."""

    def __init__(
        self, rows: pd.DataFrame, vanilla: pd.DataFrame, transformers: pd.DataFrame, bootstrap: Bootstrap, point: str
    ) -> None:
        self.rows, self.vanilla, self.transformers = rows, vanilla, transformers
        self.bootstrap, self.point = bootstrap, point
        self.found: dict[str, Estimate] = {}

    def put(
        self, name: str, statistic: Callable[..., Any], columns: Sequence[Floats], note: str = "", seeded: str = ""
    ) -> None:
        """Estimate with its interval over prompts."""
        made = self.bootstrap.estimate_units(statistic, columns, (seeded or self.point, name), "prompts")
        self.found[name] = made if made.note or not note else Estimate(made.value, made.low, made.high, note)

    def rate(self, name: str, table: pd.DataFrame, seeded: str) -> None:
        """Decode tokens per second of a method whose steps are tokens."""
        if measured(table, "new_tokens", "decode_s"):
            rates = (table["decode_s"] / table["new_tokens"]).set_axis(table["prompt"])
            columns = by_repeat(rates, rates.index.unique())
            self.put(name, lambda *c: 1.0 / middle(_joined(c)), columns, seeded=seeded)

    def sums(self, *names: str) -> list[Floats]:
        """Sums over a prompt's runs."""
        made = self.rows.groupby("prompt", sort=True)[list(names)].sum()
        return [made[name].to_numpy(float) for name in names]

    def per_cycle(self, name: str, column: "pd.Series[float]", factor: float = 1.0) -> None:
        """The middle of what runs took for a cycle."""
        values = (column / self.rows["cycles"]).set_axis(self.rows["prompt"])
        columns = by_repeat(values, self.prompts)
        self.put(name, lambda *c: factor * middle(_joined(c)), columns)

    @property
    def prompts(self) -> pd.Index:
        return pd.Index(sorted(self.rows["prompt"].unique()))

    def left_out(self, columns: pd.DataFrame, base: pd.DataFrame) -> str:
        """A note if not all prompts have both sides."""
        have = len(columns)
        return (
            "" if have == self.rows["prompt"].nunique() == base["prompt"].nunique() else f"over {have} shared prompts"
        )

    def speedup(self, name: str, base: pd.DataFrame) -> None:
        """tokens per cycle × the middle ratio of the baseline's step to a cycle."""
        columns = speedup_columns(self.rows, base)
        if len(columns):
            self.put(name, speedup_of, list(columns.to_numpy(float).T), self.left_out(columns, base))

    def predicted(self, accepted: pd.DataFrame, steps: Steps) -> None:
        """predicted_speedup and predicted_cycle_ms from acceptance rows and step times, and efficiency.

        Prompts that both were measured on are drawn together.
        """
        whole = accepted[accepted["cut"] == 0]
        if not measured(whole, "accepted", "drafted") or not measured(self.rows, "context"):
            return
        context = float(self.rows["context"].mean())
        vanilla = cost_model.at(steps.vanilla, context)
        told = whole.assign(cycles=1.0, seconds=seconds_of(whole["drafted"], whole["looked_up"], steps, context))
        sums = told.groupby("prompt", sort=True)[["accepted", "cycles", "seconds"]].sum()

        def predict(accepted: Floats, cycles: Floats, seconds: Floats) -> Any:
            n, k, s = (column.sum(axis=-1) for column in (accepted, cycles, seconds))
            return cost_model.predicted_speedup((n + k) / k, vanilla, 0.0, s / k)

        self.put("predicted_speedup", predict, [sums[name].to_numpy(float) for name in sums])
        lasting = [sums[name].to_numpy(float) for name in ("seconds", "cycles")]
        self.put("predicted_cycle_ms", lambda s, k: 1000.0 * s.sum(axis=-1) / k.sum(axis=-1), lasting)
        timed = speedup_columns(self.rows, self.vanilla)
        if timed.empty:
            return
        both = pd.concat([sums.add_prefix("told_"), timed], axis=1).sort_index()
        both = both.fillna({name: 0.0 for name in both if not str(name).startswith("ratio")})  # counts of none

        def efficiency(a: Floats, k: Floats, s: Floats, *others: Floats) -> Any:
            return cost_model.efficiency(speedup_of(*others), predict(a, k, s))

        note = self.left_out(timed, self.vanilla)
        self.put("efficiency", efficiency, list(both.to_numpy(float).T), note)


def seconds_of(
    drafted: "pd.Series[float]", looked_up: "pd.Series[float]", steps: Steps, context: float
) -> "pd.Series[float]":
    """What each cycle should take by its drafted tokens, and by whether they were found in the text."""
    kinds = pd.MultiIndex.from_arrays([drafted, looked_up == 1])
    cost = {(n, found): cost_model.cycle_seconds(steps, int(n), context, found) for n, found in kinds.unique()}
    return pd.Series([cost[kind] for kind in kinds], index=drafted.index, dtype=float)


def speedup_of(tokens: Floats, cycles: Floats, *ratios: Floats) -> Any:
    """tokens, cycles: sums `[..., units]`; ratios: logarithms of a baseline step over a cycle, a column a repeat."""
    return tokens.sum(axis=-1) / cycles.sum(axis=-1) * np.exp(middle(_joined(ratios)))


def estimates(
    rows: pd.DataFrame,
    vanilla: pd.DataFrame,
    transformers: pd.DataFrame,
    accepted: pd.DataFrame | None,
    steps: Steps | None,
    bandwidth_gb_s: float | None,
    bootstrap: Bootstrap,
    point: str,
) -> dict[str, Estimate]:
    """All that is told of the speed of one point, from its rows, its baselines' rows, its acceptance and its steps."""
    made = Speeds(rows, vanilla, transformers, bootstrap, point)
    shared_by_points = "/".join(rows[["policy", "dataset"]].iloc[0])  # one baseline, one interval
    made.rate("vanilla_tps", vanilla, shared_by_points)
    made.rate("transformers_tps", transformers, shared_by_points)
    if not measured(rows, "new_tokens", "decode_s", "cycles"):
        return made.found
    cycle = by_repeat((rows["decode_s"] / rows["cycles"]).set_axis(rows["prompt"]), made.prompts)
    counts = made.sums("new_tokens", "cycles")
    made.put("spec_tps", lambda n, k, *c: n.sum(-1) / k.sum(-1) / middle(_joined(c)), [*counts, *cycle])
    for name, base in (("speedup", vanilla), ("speedup_vs_transformers", transformers)):
        if measured(base, "new_tokens", "decode_s"):
            made.speedup(name, base)
    if measured(rows, "prefill_s"):
        columns = by_repeat(rows["prefill_s"].set_axis(rows["prompt"]), made.prompts)
        made.put("prefill_ms", lambda *c: 1000.0 * middle(_joined(c)), columns)
    phases = {"draft_ms": "draft_s", "verify_ms": "verify_s", "accept_ms": "accept_s"}
    for name, column in phases.items():
        if measured(rows, column):
            made.per_cycle(name, rows[column], 1000.0)
    if measured(rows, *phases.values()):
        made.per_cycle("other_ms", rows["decode_s"] - rows[list(phases.values())].sum(axis=1), 1000.0)
        share = cost_model.loop_overhead(rows["draft_s"], rows["verify_s"], rows["decode_s"]).set_axis(rows["prompt"])
        made.put("loop_overhead", lambda *c: middle(_joined(c)), by_repeat(share, made.prompts))
    if measured(rows, "peak_memory_mb"):
        made.found["peak_memory_mb"] = Estimate(float(rows["peak_memory_mb"].max()))
    if bandwidth_gb_s is not None and measured(rows, "bytes_read"):
        rated = bandwidth_gb_s * 1e9
        columns = [*made.sums("bytes_read", "cycles"), *cycle]
        made.put("mbu", lambda n, k, *c: n.sum(-1) / k.sum(-1) / middle(_joined(c)) / rated, columns)
    if measured(rows, "disturbed"):
        beside = vanilla.merge(rows[["prompt", "repeat", "pair"]].drop_duplicates(), on=["prompt", "repeat", "pair"])
        made.found["disturbed"] = Estimate(float(pd.concat([rows["disturbed"], beside["disturbed"]]).mean()))
    if accepted is not None and steps is not None and measured(vanilla, "new_tokens", "decode_s"):
        made.predicted(accepted, steps)
    speedup, told = made.found.get("speedup"), made.found.get("predicted_speedup")
    if speedup and told and speedup.value is not None and told.value is not None:
        flag = cost_model.is_impossible(speedup.value, told.value, told.high)
        made.found["impossible"] = Estimate(float(flag))
    return made.found


def steps_of(rows: pd.DataFrame, vanilla: pd.DataFrame) -> Steps | None:
    """Medians of the rows of one point, and of the vanilla steps of its policy; None if a step was not measured."""

    def medians(table: pd.DataFrame, per_token: bool = False) -> dict[float, float]:
        seconds = table["seconds"] / table["tokens"] if per_token else table["seconds"]
        found = seconds.groupby(table["context"]).median()
        return dict(zip(found.index.astype(float), found.to_numpy(float), strict=True))

    lookup, draft, verify = (rows[rows["step"] == step] for step in ("lookup", "draft", "verify"))
    if draft.empty or verify.empty or vanilla.empty:
        return None
    widths = {int(width): medians(verify[verify["tokens"] == width]) for width in verify["tokens"].unique()}
    return Steps(medians(vanilla), medians(draft, per_token=True), widths, medians(lookup, per_token=True) or None)
