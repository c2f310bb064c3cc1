"""Raw rows of quality and acceptance -> estimates, each a function of sums over prompts or conversations."""

import math
from typing import Any

import pandas as pd

from selfdraft.statistics.bootstrap import Bootstrap, Estimate


def measured(rows: pd.DataFrame, *columns: str) -> bool:
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
        if measured(rows, column, "tokens")
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
    if measured(rows, "new_tokens"):
        found["target_calls_per_token"] = ratio("target_calls_per_token", rows, 1.0, rows["new_tokens"])
    whole = rows[rows["cut"] == 0]
    if measured(whole, "accepted", "drafted"):
        accepted = whole["accepted"]
        found["accepted_mean"] = mean = ratio("accepted_mean", whole, accepted, 1.0)
        found["accept_rate"] = mean.mapped(lambda n: n / gamma)
        found["target_calls_proxy"] = mean.mapped(lambda n: 1.0 / (n + 1.0))
        for k in range(1, gamma + 1):
            reached = (accepted >= k - 1) & (whole["drafted"] >= k)
            name = f"accept_at_{k}"
            found[name] = ratio(name, whole, (reached & (accepted >= k)).astype(float), reached.astype(float))
    if measured(whole, "overlap_sum", "drafted"):
        found["overlap"] = overlap = ratio("overlap", whole, whole["overlap_sum"], whole["drafted"])
        found["tv"] = overlap.mapped(lambda x: 1.0 - x)
    return found


def identical(rows: pd.DataFrame) -> float | None:
    """Share of prompts whose greedy output is vanilla's token by token; None where that is not asked."""
    by_prompt = rows.dropna(subset=["identical"]).groupby("prompt")["identical"].min()
    return float(by_prompt.mean()) if len(by_prompt) else None
