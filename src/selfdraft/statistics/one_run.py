"""What one run of a draft that learns found: its looks at held-out prompts with their intervals, and what it cost."""

from collections.abc import Mapping, Sequence
from typing import Any

from selfdraft.statistics.bootstrap import Bootstrap, Estimate
from selfdraft.statistics.online import DRIFT


def looks_of(evaluations: Sequence[Mapping[str, Any]], seed: int) -> list[dict[str, Any]]:
    """Each of the run's evaluations with its estimates, by a bootstrap over prompts, of drift over conversations."""
    bootstrap = Bootstrap(seed=seed)
    rows: list[dict[str, Any]] = []
    for evaluation in evaluations:
        place = str(evaluation["prompts"])
        found = bootstrap.estimate(_ratio, _sums(evaluation, "by_prompt"), ("dvi", place), "prompts")
        row = _columns("accepted_mean", found)
        if "by_conversation" in evaluation:  # how far the verifier is from the base model
            texts, where = _sums(evaluation, "by_conversation"), ("dvi", "drift", place)
            for name, statistic in DRIFT.items():
                row |= _columns(name, bootstrap.estimate(statistic, texts, where, "conversations"))
        rows.append({**row, **evaluation})
    return rows


def gain_of(first: Mapping[str, Any], last: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """How much more is accepted at the last look than at the first, paired by prompt."""
    sums = [*_sums(last, "by_prompt"), *_sums(first, "by_prompt")]
    found = Bootstrap(seed=seed).estimate(_gain, sums, ("dvi", "gain"), "prompts")
    return _columns("accepted_mean_gain", found)


def cost_of(first: Mapping[str, Any], last: Mapping[str, Any], spent: Mapping[str, float]) -> dict[str, Any]:
    """Seconds of decoding and of learning, their ratio, and the tokens until as much time is saved; None is never."""
    saved = first["seconds"] / first["tokens"] - last["seconds"] / last["tokens"]  # seconds a token
    return {name: round(seconds, 3) for name, seconds in spent.items()} | {
        "learning_of_decoding": round(spent["learning_s"] / spent["decoding_s"], 4) if spent["decoding_s"] else None,
        "break_even_tokens": round(spent["learning_s"] / saved) if saved > 0 else None,
    }


def _ratio(accepted: Any, cycles: Any) -> Any:
    return accepted / cycles


def _gain(after: Any, cycles: Any, before: Any, cycles_before: Any) -> Any:
    return after / cycles - before / cycles_before


def _columns(name: str, found: Estimate) -> dict[str, Any]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high, f"{name}_note": found.note}


def _sums(evaluation: Mapping[str, Any], key: str) -> list[list[float]]:
    """The columns of what was summed by prompt or conversation."""
    return [list(column) for column in zip(*evaluation[key].values(), strict=True)]
