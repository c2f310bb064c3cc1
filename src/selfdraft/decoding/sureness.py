"""How sure a draft's logits are of the next token, by the measures that thresholds are calibrated on."""

import torch
from torch import Tensor


def sureness(logits: Tensor, measure: str) -> Tensor:
    """A measure of `selfdraft.calibration.measures` of logits `[…, vocab]` at temperature 1, float32 `[…]`."""
    if measure == "entropy":
        log_q = torch.log_softmax(logits.float(), dim=-1)
        return -(log_q.exp() * log_q).nan_to_num(0.0).sum(dim=-1)
    probabilities = torch.softmax(logits.float(), dim=-1)
    if measure == "top_probability":
        return probabilities.amax(dim=-1)
    if measure == "margin":
        best = probabilities.topk(2, dim=-1).values
        return best[..., 0] - best[..., 1]
    raise ValueError(f"{measure}: no measure")
