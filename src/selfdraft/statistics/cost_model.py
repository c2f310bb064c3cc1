"""What speculative decoding should gain, from acceptance and the times of its steps.

The functions are plain arithmetic: they take floats or arrays of equal shape alike.
"""

from typing import Any


def expected_accepted(alpha: float, gamma: int) -> float:
    """Mean accepted draft tokens per cycle, bonus excluded, if each position is accepted with `alpha`.

    alpha (1 - alpha^gamma) / (1 - alpha): equation 1 of Leviathan et al. 2023 (arXiv:2211.17192),
    which counts the bonus token, less one. Measured acceptance differs from position to position
    (`accept_at_k`), so that this closed form is a check, never an estimate.

    Raises ValueError if alpha is outside [0, 1] or gamma < 1.
    """
    if not 0.0 <= alpha <= 1.0 or gamma < 1:
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
    """Measured ÷ predicted speed-up; what is missing to 1 is the loop's own overhead."""
    return speedup / predicted
