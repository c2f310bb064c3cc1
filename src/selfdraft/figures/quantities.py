"""What axes call the columns of the tables: the words of papers, with units; captions name the columns."""

import textwrap

QUANTITIES = {
    "kl": "KL to the target, nats per token",
    "perplexity": "perplexity",
    "top1": "top-1 accuracy",
    "accepted_mean": "accepted draft tokens per cycle",
    "accept_rate": "accepted share of drafted tokens",
    "tv": "total variation distance to the target",
    "speedup": "speedup over vanilla decoding",
    "speedup_over_fixed": "speedup beyond that of the best fixed exit",
    "predicted_speedup": "predicted speedup over vanilla decoding",
    "efficiency": "measured / predicted speedup",
    "draft_ms": "drafting time per cycle, ms",
    "tps": "tokens per second",
    "seconds": "decoding time of an answer, s",
    "tokens_per_second": "tokens per second",
    "step_ms": "time of one step, ms",
    "compile_s": "time to compile, s",
    "loss": "training loss, nats per token",
    "validation_kl": "validation KL, nats per token",
    "validation_accepted": "accepted draft tokens per cycle, validation text",
}
UPRIGHT = 24  # letters that a panel of usual height has room for beside its vertical axis


def along(name: str) -> str:
    """The label of a horizontal axis."""
    return QUANTITIES[name]


def upright(name: str) -> str:
    """The label of a vertical axis, in lines that a panel has room for."""
    quantity, comma, unit = QUANTITIES[name].partition(", ")
    if len(quantity) + len(comma + unit) <= UPRIGHT:
        return QUANTITIES[name]
    return textwrap.fill(quantity, UPRIGHT) + (f",\n{unit}" if unit else "")
