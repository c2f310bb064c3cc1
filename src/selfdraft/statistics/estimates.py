"""Raw rows of one point -> its estimates, each a function of sums over prompts or conversations."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from selfdraft.statistics import cost_model
from selfdraft.statistics.bootstrap import Bootstrap, Estimate
from selfdraft.statistics.columns import SPEED_SUMS


def _measured(rows: pd.DataFrame, *columns: str) -> bool:
    """Whether every row has every one of the columns: half a measurement is none."""
    return bool(len(rows)) and not rows[list(columns)].isna().any(axis=None)


def quality(rows: pd.DataFrame, bootstrap: Bootstrap, point: str) -> dict[str, Estimate]:
    """Quality of one checkpoint from its rows per conversation (unit: conversation)."""
    sums = rows.groupby("conversation", sort=True).sum(numeric_only=True)
    ratios = {
        "kl": "kl_sum",
        "kl_at_1": "kl_at_1_sum",
        "ce": "ce_sum",
        "top1": "top1_sum",
        "top5": "top5_sum",
        "teacher_agreement": "agreement_sum",
        "teacher_ce": "teacher_ce_sum",
        "teacher_top1": "teacher_top1_sum",
    }
    found = {
        name: bootstrap.ratio(sums[column], sums["tokens"], (point, name), "conversations")
        for name, column in ratios.items()
        if _measured(rows, column, "tokens")
    }
    if "ce" in found:
        found["perplexity"] = found["ce"].mapped(math.exp)
    return found


def acceptance(rows: pd.DataFrame, gamma: int, bootstrap: Bootstrap, point: str) -> dict[str, Estimate]:
    """Acceptance of one point from its rows per cycle (unit: prompt).

    Cycles cut short count in target_calls_per_token alone; accept_at_k is taken over the cycles
    that reached position k, that is, accepted all before it.
    """

    def ratio(name: str, table: pd.DataFrame, over: Any, under: Any) -> Estimate:
        sums = pd.DataFrame({"over": over, "under": under, "prompt": table["prompt"]})
        sums = sums.groupby("prompt", sort=True).sum()
        return bootstrap.ratio(sums["over"], sums["under"], (point, name), "prompts")

    found: dict[str, Estimate] = {}
    if _measured(rows, "new_tokens"):
        found["target_calls_per_token"] = ratio("target_calls_per_token", rows, 1.0, rows["new_tokens"])
    whole = rows[rows["cut"] == 0]
    if _measured(whole, "accepted", "drafted"):
        accepted = whole["accepted"]
        found["accepted_mean"] = mean = ratio("accepted_mean", whole, accepted, 1.0)
        found["accept_rate"] = mean.mapped(lambda n: n / gamma)
        found["target_calls_proxy"] = mean.mapped(lambda n: 1.0 / (n + 1.0))
        for k in range(1, gamma + 1):
            reached = (accepted >= k - 1) & (whole["drafted"] >= k)
            name = f"accept_at_{k}"
            found[name] = ratio(name, whole, (reached & (accepted >= k)).astype(float), reached.astype(float))
    if _measured(whole, "overlap_sum", "drafted"):
        found["overlap"] = overlap = ratio("overlap", whole, whole["overlap_sum"], whole["drafted"])
        found["tv"] = overlap.mapped(lambda x: 1.0 - x)
    return found


def identical(rows: pd.DataFrame) -> float | None:
    """Share of prompts whose greedy output is vanilla's token by token; None where that is not asked."""
    by_prompt = rows.dropna(subset=["identical"]).groupby("prompt")["identical"].min()
    return float(by_prompt.mean()) if len(by_prompt) else None


def speed(
    rows: pd.DataFrame,
    vanilla: pd.DataFrame,
    transformers: pd.DataFrame,
    bandwidth_gb_s: float | None,
    bootstrap: Bootstrap,
    point: str,
) -> dict[str, Estimate]:
    """Speed of one point and its baselines from their rows per prompt and repeat (unit: prompt).

    Repeats of a prompt are summed first. Comparisons are paired: they use the prompts that both
    sides ran, and say so if that is not all of them.
    """
    found: dict[str, Estimate] = {}

    def by_prompt(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(runs=1.0).groupby("prompt", sort=True)[["runs", *SPEED_SUMS]].sum()

    def put(name: str, statistic: Callable[..., Any], columns: Sequence[Any], note: str = "") -> None:
        made = bootstrap.estimate(statistic, columns, (point, name), "prompts")
        found[name] = made if made.note or not note else Estimate(made.value, made.low, made.high, note)

    def rate(name: str, table: pd.DataFrame, seeded_by: str) -> None:
        if _measured(table, "new_tokens", "decode_s"):
            sums = by_prompt(table)
            found[name] = bootstrap.ratio(sums["new_tokens"], sums["decode_s"], (seeded_by, name), "prompts")

    def paired(base: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, str]:
        ours, theirs = by_prompt(rows), by_prompt(base)
        shared = ours.index.intersection(theirs.index)
        whole = len(shared) == len(ours) == len(theirs)
        return ours.loc[shared], theirs.loc[shared], "" if whole else f"over {len(shared)} shared prompts"

    shared_by_points = "/".join(rows[["policy", "dataset"]].iloc[0])  # one baseline, one interval
    rate("vanilla_tps", vanilla, shared_by_points)
    rate("transformers_tps", transformers, shared_by_points)
    rate("spec_tps", rows, point)
    if not _measured(rows, "new_tokens", "decode_s"):
        return found
    for name, base in (("speedup", vanilla), ("speedup_vs_transformers", transformers)):
        if _measured(base, "new_tokens", "decode_s"):
            a, b, note = paired(base)
            columns = [a["new_tokens"], a["decode_s"], b["new_tokens"], b["decode_s"]]
            put(name, cost_model.rate_ratio, columns, note)

    sums = by_prompt(rows)
    if _measured(rows, "prefill_s"):
        put("prefill_ms", lambda s, n: 1000.0 * s / n, [sums["prefill_s"], sums["runs"]])
    phases = {"draft_ms": "draft_s", "verify_ms": "verify_s", "accept_ms": "accept_s"}
    for name, column in phases.items():
        if _measured(rows, column, "cycles"):
            put(name, lambda s, n: 1000.0 * s / n, [sums[column], sums["cycles"]])
    if _measured(rows, *phases.values(), "decode_s", "cycles"):
        rest = sums["decode_s"] - sums[list(phases.values())].sum(axis=1)
        put("other_ms", lambda s, n: 1000.0 * s / n, [rest, sums["cycles"]])
    if _measured(rows, "peak_memory_mb"):
        found["peak_memory_mb"] = Estimate(float(rows["peak_memory_mb"].max()))
    if bandwidth_gb_s is not None and _measured(rows, "bytes_read"):
        rated = bandwidth_gb_s * 1e9
        put("mbu", lambda n, s: n / s / rated, [sums["bytes_read"], sums["decode_s"]])

    if _measured(rows, "draft_s", "verify_s", "cycles") and _measured(vanilla, "new_tokens", "decode_s"):
        a, b, note = paired(vanilla)
        columns = [a[c] for c in ("new_tokens", "decode_s", "cycles", "draft_s", "verify_s")]
        columns += [b["new_tokens"], b["decode_s"]]

        def predicted(n: Any, s: Any, cycles: Any, draft: Any, verify: Any, base_n: Any, base_s: Any) -> Any:
            return cost_model.predicted_speedup(n / cycles, base_s / base_n, draft / cycles, verify / cycles)

        def efficiency(n: Any, s: Any, *others: Any) -> Any:
            measured = cost_model.rate_ratio(n, s, *others[-2:])
            return cost_model.efficiency(measured, predicted(n, s, *others))

        put("predicted_speedup", predicted, columns, note)
        put("efficiency", efficiency, columns, note)
    return found
