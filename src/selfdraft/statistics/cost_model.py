"""What speculative decoding should gain, from acceptance and the times of its steps.

The functions are plain arithmetic: they take floats or arrays of equal shape alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

ByContext = Mapping[float, float]  # seconds by the number of tokens in the cache


@dataclass(frozen=True)
class Steps:
    """Seconds of the steps of one point, measured on their own (`selfdraft steps`).

    vanilla: one vanilla decode step; draft: one drafted token; verify: by the number of tokens that are
    verified together, the pending one included. lookup: one token that was found in the text, of a drafter that looks
    there first; none of all others.
    """

    vanilla: ByContext
    draft: ByContext
    verify: Mapping[int, ByContext]
    lookup: ByContext | None = None


def at(table: Mapping[Any, float], x: float) -> float:
    """A table of numbers at `x`: straight between its entries, level beyond them."""
    keys = sorted(table)
    return float(np.interp(x, keys, [table[key] for key in keys]))


def cycle_seconds(steps: Steps, drafted: int, context: float, looked_up: bool = False) -> float:
    """What a cycle with so many drafted tokens takes, if the loop around its steps cost nothing.

    looked_up: whether they were found in the text, by a drafter that drafts itself where nothing is found.
    """
    draft = steps.lookup if looked_up and steps.lookup else steps.draft
    verify = at({width: at(table, context) for width, table in steps.verify.items()}, drafted + 1)
    return drafted * at(draft, context) + verify


def predict(accepted_mean: float, drafted: Mapping[int, float], steps: Steps, context: float) -> float:
    """The speed-up of a point from its acceptance, its step table and the tokens in the cache.

    drafted: how often (counts or shares) a cycle drafts so many tokens.
    """
    cycles = sum(drafted.values())
    seconds = sum(count * cycle_seconds(steps, tokens, context) for tokens, count in drafted.items()) / cycles
    return float(predicted_speedup(accepted_mean + 1.0, at(steps.vanilla, context), 0.0, seconds))


def expected_accepted(alpha: Any, gamma: int) -> Any:
    """Mean accepted draft tokens per cycle, bonus excluded, if each position is accepted with `alpha`.

    alpha (1 - alpha^gamma) / (1 - alpha): equation 1 of Leviathan et al. 2023 (arXiv:2211.17192),
    which counts the bonus token, less one. Measured acceptance differs from position to position
    (`accept_at_k`), so that this closed form is a check, never an estimate.

    Raises ValueError if alpha is outside [0, 1] or gamma < 1.
    """
    if gamma < 1 or not np.all((np.asarray(alpha) >= 0.0) & (np.asarray(alpha) <= 1.0)):
        raise ValueError(f"alpha = {alpha} is not in [0, 1], or gamma = {gamma} is not >= 1")
    return sum(alpha**k for k in range(1, gamma + 1))  # no 0/0 at alpha = 1


def rate_ratio(tokens: Any, seconds: Any, base_tokens: Any, base_seconds: Any) -> Any:
    """Tokens per second of a method ÷ tokens per second of its baseline (the measured `speedup`)."""
    return (tokens / seconds) / (base_tokens / base_seconds)


def predicted_speedup(tokens_per_cycle: Any, vanilla_step_s: Any, draft_s: Any, verify_s: Any) -> Any:
    """The speed-up if a cycle cost nothing but its draft and its verification.

    tokens_per_cycle: accepted tokens and the bonus; vanilla_step_s: seconds of one vanilla decode
    step; draft_s, verify_s: seconds per cycle. With draft_s = gamma·c·t and verify_s = t this is
    theorem 3.8 of Leviathan et al. 2023.
    """
    return tokens_per_cycle * vanilla_step_s / (draft_s + verify_s)


def efficiency(speedup: Any, predicted: Any) -> Any:
    """Measured ÷ predicted speed-up. The two share no measurement: what is missing to 1 is the loop's own cost, that
    other prompts were accepted otherwise, and noise."""
    return speedup / predicted


def loop_overhead(draft_s: Any, verify_s: Any, decode_s: Any) -> Any:
    """The share of a run's decode time that is neither drafting nor verifying."""
    return 1.0 - (draft_s + verify_s) / decode_s


def is_impossible(speedup: float, predicted: float, predicted_high: float | None, slack: float = 0.1) -> bool:
    """Whether a measured speed-up is above what its acceptance can give by more than `slack`."""
    return speedup > (1.0 + slack) * (predicted if predicted_high is None else predicted_high)
