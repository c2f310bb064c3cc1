"""Ways to decode on the same prompts -> speed, acceptance and disagreement, with intervals over the prompts."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from selfdraft.statistics import cost_model
from selfdraft.statistics.bootstrap import Bootstrap, Estimate

ESTIMATES = (
    *("tokens_per_second", "speedup", "accept_rate", "target_calls_per_token", "mean_layer"),
    *("disagreement", "perplexity"),
)
SUMS = ("tokens", "seconds", "calls", "drafted", "accepted", "left", "layers", "disagreeing", "nats")


def estimates(sums: pd.DataFrame, base: pd.DataFrame, bootstrap: Bootstrap, name: str) -> dict[str, Estimate]:
    """ESTIMATES of one way, `name`, from its SUMS, a row a prompt; `base` are the target's own on the same prompts.

    `left`, `layers`: tokens of which the layer is known that they left after, and Σ of these layers. `disagreement`: a
    prompt's share of tokens that are not the target's best one, its mean over prompts, which is what a calibration
    promises; all others are ratios of sums. What a way does not have (it drafts nothing) has no value.
    """

    def ratio(key: str, over: Sequence[float], under: Sequence[float]) -> Estimate:
        return bootstrap.ratio(over, under, (name, key), "prompts")

    column = {key: sums[key].to_numpy(float).tolist() for key in SUMS}
    found = {
        "tokens_per_second": ratio("tokens_per_second", column["tokens"], column["seconds"]),
        "speedup": bootstrap.estimate(
            cost_model.rate_ratio,
            [column["tokens"], column["seconds"], base["tokens"], base["seconds"]],
            (name, "speedup"),
            "prompts",
        ),
        "target_calls_per_token": ratio("target_calls_per_token", column["calls"], column["tokens"]),
        "disagreement": ratio(
            "disagreement", np.divide(column["disagreeing"], column["tokens"]).tolist(), [1.0] * len(sums)
        ),
        "perplexity": ratio("perplexity", column["nats"], column["tokens"]).mapped(math.exp),
    }
    if sum(column["drafted"]):
        found["accept_rate"] = ratio("accept_rate", column["accepted"], column["drafted"])
    if sum(column["left"]):
        found["mean_layer"] = ratio("mean_layer", column["layers"], column["left"])
    return {key: found.get(key, Estimate()) for key in ESTIMATES}
