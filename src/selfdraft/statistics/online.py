"""What drafts learnt while they decoded -> online.csv: runs that differ in their seed alone are one line.

An estimate is the mean over seeds. All seeds are measured on the same held-out prompts, so that it varies in two ways:
from seed to seed (s² / seeds) and with the choice of prompts (the jackknife over prompts of the mean over seeds). The
variance of the interval is the sum of both, which counts what is left over twice and is never too narrow for it; its
Student's t has the degrees of freedom of Satterthwaite (1946). On the stream each seed serves prompts in an order of
its own: there the spread between seeds is all.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from selfdraft.errors import StudyError
from selfdraft.files import read_json
from selfdraft.statistics.bootstrap import MIN_UNITS, Estimate
from selfdraft.statistics.side_tables import with_intervals
from selfdraft.statistics.tables import cell, note, number_text

Floats = npt.NDArray[np.float64]
WINDOWS = 10  # of each data set of a stream
TEXTS = ("learner", "objective", "share", "lossless_against", "draft", "capacity", "part", "dataset")
SIZES = ("layer", "seeds", "prompts", "updates", "tokens", "buffer_bytes")
DRIFT: dict[
    str, Callable[..., Any]
] = {  # of Σ labels, Σ KL to the base model in nats, Σ −log p(label), by conversation
    "drift_kl": lambda labels, kl, ce: kl / labels,
    "perplexity": lambda labels, kl, ce: np.exp(ce / labels),
}
ESTIMATES = ("accepted_mean", "gain", "over_trained", "saved_ms", "break_even_tokens", "gradient_noise", *DRIFT)
TIMES = ("learning_s", "decoding_s", "learning_of_decoding", "gradient_variance")
COLUMNS = [*TEXTS, *SIZES, *with_intervals(ESTIMATES), *TIMES, "interval_note"]


@dataclass(frozen=True)
class Run:
    """One seed: its folder's config.json and results.json."""

    folder: Path
    config: Mapping[str, Any]
    results: Mapping[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """All that tells its line from others."""
        own = {key: self.config[key] for key in ("layer", "capacity", "initial", "dataset")}
        learnt = {key: value for key, value in self.config["online"].items() if key != "seed"}
        return learnt | own | {"stream": [name for name, _ in self.results["stream"]]}

    def sums(self, evaluation: int) -> Floats:
        """Accepted tokens and cycles of each held-out prompt, `[2, prompts]`."""
        return np.array(list(self.results["evaluations"][evaluation]["by_prompt"].values()), dtype=np.float64).T


def read_run(folder: Path) -> Run:
    """Raises StudyError for a folder of something else."""
    config, results = read_json(folder / "config.json"), read_json(folder / "results.json")
    if not isinstance(config, dict) or config.get("kind") != "dvi" or not isinstance(results, dict):
        raise StudyError(f"{folder}: no draft of `selfdraft dvi`")
    return Run(folder, config, results)


def over_seeds(values: Sequence[float], confidence: float, of_prompts: tuple[float, int] | None = None) -> Estimate:
    """The mean with its interval; `of_prompts`: the variance that comes of the prompts, and how many they are."""
    each = np.asarray(values, dtype=np.float64)
    value, seeds = float(each.mean()), len(each)
    if not math.isfinite(value):
        return Estimate()
    if seeds < 2:
        return Estimate(value, note="no interval: 1 seed, 2 needed")
    of_seeds = float(each.var(ddof=1)) / seeds, seeds
    return around(value, [of_seeds, of_prompts] if of_prompts else [of_seeds], confidence)


def around(value: float, parts: Sequence[tuple[float, int]], confidence: float) -> Estimate:
    """The interval of a value whose variance has parts, each with the number of units that it was found from.

    The last part is that of prompts, if there are two or more.
    """
    if len(parts) > 1 and parts[-1][1] < MIN_UNITS:
        return Estimate(value, note=f"no interval: {parts[-1][1]} prompts, {MIN_UNITS} needed")
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return Estimate(value, value, value)
    freedom = variance**2 / sum(part**2 / (count - 1) for part, count in parts)
    half = float(stats.t.ppf((1 + confidence) / 2, freedom)) * math.sqrt(variance)
    return Estimate(value, value - half, value + half)


def crossed(statistic: Callable[..., Floats], columns: Sequence[Floats], confidence: float) -> Estimate:
    """The mean over seeds of `statistic(Σ columns[0], …)`, each column `[seeds, prompts]`, as the module says."""
    totals, prompts = [column.sum(axis=1) for column in columns], columns[0].shape[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        each = statistic(*totals)
        without = statistic(*(total[:, None] - column for total, column in zip(totals, columns, strict=True)))
        of_prompts = jackknife(without.mean(axis=0)), prompts
    return over_seeds(each.tolist(), confidence, of_prompts)


def jackknife(left_out: Floats) -> float:
    """The variance of an estimate, from its values with each unit left out in turn, `[units]`."""
    apart = left_out - left_out.mean()
    return float(apart @ apart) * (len(apart) - 1) / len(apart)


def lines_of(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs by their line. Its name is the objective, what the stream goes on with, and what else tells it from other
    lines of such a stream.

    Raises StudyError for two runs of one line with one seed, or with other held-out prompts.
    """
    groups: list[list[Run]] = []
    for run in runs:
        group = next((found for found in groups if found[0].settings == run.settings), None)
        if group is None:
            groups.append([run])
        else:
            group.append(run)
    named = {}
    for group in groups:
        first = group[0]
        for run in group[1:]:
            if run.config["seed"] in [other.config["seed"] for other in group if other is not run]:
                raise StudyError(f"{run.folder}: seed {run.config['seed']} stands twice among runs of one line")
            if run.results["evaluations"][0]["by_prompt"].keys() != first.results["evaluations"][0]["by_prompt"].keys():
                raise StudyError(f"{run.folder}: other held-out prompts than {first.folder} has")
        alike = [other[0].settings for other in groups if _goes_on(other[0]) == _goes_on(first)]
        own = [key for key in first.settings if len({str(settings.get(key)) for settings in alike}) > 1]
        own += ["stream"] * (len(alike) < len(groups) and "stream" not in own)
        told = [_told(key, first.settings[key]) for key in own if key != "objective"]
        named[", ".join([first.settings["objective"], *filter(None, told)])] = group
    return named


def _goes_on(run: Run) -> list[str]:
    """What the stream goes on with."""
    return list(run.settings["stream"][1:])


def _told(key: str, value: Any) -> str:
    """A setting in a line's name."""
    if key == "initial":
        return "from the target's head" if value is None else f"from {Path(str(value)).name}"
    if key == "stream":
        return f"then {value[1]}" if len(value) > 1 else ""
    return f"{key.replace('_', ' ')} {value}"


def online_rows(runs: Sequence[Run], confidence: float) -> list[dict[str, str]]:
    """A row for each look at the held-out prompts, each piece of the stream, and each exit that was measured beside."""
    rows: list[dict[str, str]] = []
    for name, group in lines_of(runs).items():
        first = group[0].config
        told = {"learner": name, "lossless_against": first["lossless_against"]}
        told |= {key: str(first["online"][key]) for key in ("objective", "share", "draft")}
        told |= {"capacity": first["capacity"], "layer": str(first["layer"]), "seeds": str(len(group))}
        trained = compared(group, runs)
        rows += [told | {"part": "held_out"} | row for row in _held_out(group, trained, confidence)]
        if trained is not None:
            rows += [told | row for row in _equal(group, trained, confidence)]
        rows += [told | {"part": "stream"} | row for row in _stream(group, confidence)]
    return rows + [_beside(run, other, confidence) for run, other in trained_beside(runs).values()]


def trained_beside(runs: Sequence[Run]) -> dict[str, tuple[Run, Mapping[str, Any]]]:
    """The exits that were measured beside, by name, each with the first run that did so."""
    found: dict[str, tuple[Run, Mapping[str, Any]]] = {}
    for run in runs:
        for other in run.results["beside"]:
            found.setdefault(other["name"], (run, other))
    return found


def compared(group: Sequence[Run], runs: Sequence[Run]) -> Mapping[str, Any] | None:
    """The first of `trained_beside` that was measured on the line's own prompts."""
    prompts = list(group[0].results["evaluations"][0]["by_prompt"])
    return next((other for _, other in trained_beside(runs).values() if prompts == list(other["by_prompt"])), None)


def sums_of(trained: Mapping[str, Any], seeds: int) -> list[Floats]:
    """Accepted tokens and cycles of an exit that was trained before, `[seeds, prompts]` each: the same of all seeds."""
    of_prompts = np.array(list(trained["by_prompt"].values()), dtype=np.float64).T
    return [np.broadcast_to(column, (seeds, len(column))) for column in of_prompts]


def _held_out(group: Sequence[Run], trained: Mapping[str, Any] | None, confidence: float) -> Iterator[dict[str, str]]:
    before = np.stack([run.sums(0) for run in group], axis=1)
    for place, looks in enumerate(zip(*(run.results["evaluations"] for run in group), strict=True)):
        sums = np.stack([run.sums(place) for run in group], axis=1)  # [2, seeds, prompts]
        found = {
            "accepted_mean": crossed(lambda accepted, cycles: accepted / cycles, list(sums), confidence),
            "gain": crossed(lambda a, c, b, d: a / c - b / d, [*sums, *before], confidence),
        }
        if all("by_conversation" in look for look in looks):
            texts = [np.array(list(look["by_conversation"].values()), dtype=np.float64).T for look in looks]
            of_text = list(np.stack(texts, axis=1))  # [3, seeds, conversations]
            found |= {name: crossed(statistic, of_text, confidence) for name, statistic in DRIFT.items()}
        if trained is not None:
            beside = sums_of(trained, len(group))
            found["over_trained"] = crossed(lambda a, c, b, d: a / c - b / d, [*sums, *beside], confidence)
        at_first = [run.results["evaluations"][0] for run in group]
        saved = [
            1e3 * (first["seconds"] / first["tokens"] - look["seconds"] / look["tokens"])
            for first, look in zip(at_first, looks, strict=True)
        ]
        mean = {key: float(np.mean([look[key] for look in looks])) for key in ("prompts", "updates", "learning_s")}
        if place:
            found["saved_ms"] = over_seeds(saved, confidence)
            found["break_even_tokens"] = break_even(1e3 * mean["learning_s"], found["saved_ms"])
        gradients = gradients_since(group, place)
        if gradients is not None and gradients[0].all():
            found["gradient_noise"] = over_seeds((gradients[1] / gradients[0]).tolist(), confidence)
        served = float(np.mean([look["served_tokens"] for look in looks]))
        decoding = float(np.mean([look["decoding_s"] for look in looks]))
        yield {
            "dataset": str(group[0].config["dataset"]),
            **{name: number_text(mean[name]) for name in ("prompts", "updates", "learning_s")},
            "tokens": number_text(served),
            "decoding_s": number_text(decoding),
            "learning_of_decoding": number_text(mean["learning_s"] / decoding) if decoding else "",
            "gradient_variance": number_text(float(gradients[1].mean())) if gradients is not None else "",
            "buffer_bytes": number_text(group[0].results["buffer_bytes"]),
            **_cells(found),
        }


def gradients_since(group: Sequence[Run], place: int) -> Floats | None:
    """Means over the updates between a look and the one before it, `[2, seeds]`: the squared norm of an update's
    gradient, and its variance; None where none was made."""
    found = []
    for run in group:
        before, now = run.results["evaluations"][max(0, place - 1)], run.results["evaluations"][place]
        updates = now["updates"] - before["updates"]
        if not updates:
            return None
        found.append([(now[key] - before[key]) / updates for key in ("grad_square", "grad_variance")])
    return np.array(found, dtype=np.float64).T


def _equal(group: Sequence[Run], trained: Mapping[str, Any], confidence: float) -> Iterator[dict[str, str]]:
    """The line beside an exit that was trained before, when it had served as many tokens as that was trained on, and
    when it had learnt for as many seconds: acceptance and prompts seen, in a straight line between the looks before and
    after.

    A line that ended before has no estimate there.
    """
    seeds = len(group)
    for part, key, most in (
        ("equal_data", "served_tokens", float(trained["training_tokens"])),
        ("equal_seconds", "learning_s", float(trained["training_seconds"])),
    ):
        spent = [[float(look[key]) for look in run.results["evaluations"]] for run in group]
        row = {"part": part, "dataset": str(group[0].config["dataset"])}
        row["tokens" if key == "served_tokens" else key] = number_text(most)
        ended = min(each[-1] for each in spent)
        if ended < most or len(spent[0]) < 2:
            yield row | {"interval_note": f"no estimate: a run ended at {ended:g}"}
            continue
        places = [max(1, next(at for at, value in enumerate(each) if value >= most)) for each in spent]
        share = np.array(
            [(most - each[at - 1]) / (each[at] - each[at - 1]) for each, at in zip(spent, places, strict=True)]
        )
        looked = [run.results["evaluations"][at - 1 : at + 1] for run, at in zip(group, places, strict=True)]
        seen = np.array([[look["prompts"] for look in two] for two in looked], dtype=np.float64)
        row["prompts"] = number_text(float((seen[:, 0] + share * (seen[:, 1] - seen[:, 0])).mean()))
        before = np.stack([run.sums(at - 1) for run, at in zip(group, places, strict=True)], axis=1)
        after = np.stack([run.sums(at) for run, at in zip(group, places, strict=True)], axis=1)
        looks, beside = [*before, *after], sums_of(trained, seeds)
        found = {
            "accepted_mean": crossed(partial(_between, share), looks, confidence),
            "over_trained": crossed(partial(_between_over, share), [*looks, *beside], confidence),
        }
        yield row | _cells(found)


def _between(share: Floats, a: Floats, c: Floats, b: Floats, d: Floats) -> Floats:
    """From a/c to b/d, each seed its own share of the way."""
    weight = share if a.ndim == 1 else share[:, None]
    return (1 - weight) * a / c + weight * b / d


def _between_over(share: Floats, a: Floats, c: Floats, b: Floats, d: Floats, e: Floats, f: Floats) -> Floats:
    return _between(share, a, c, b, d) - e / f


def break_even(spent_ms: float, saved: Estimate) -> Estimate:
    """Tokens after which the time saved is the time spent; an end of the interval that is never reached is None."""

    def tokens(each: float | None) -> float | None:
        return spent_ms / each if each is not None and each > 0 else None

    return Estimate(tokens(saved.value), tokens(saved.high), tokens(saved.low))


def _stream(group: Sequence[Run], confidence: float) -> Iterator[dict[str, str]]:
    begin = 0
    for data, count in group[0].results["stream"]:
        pieces = min(WINDOWS, count)
        edges = [begin + count * piece // pieces for piece in range(pieces + 1)] if pieces else []
        for low, high in pairwise(edges):
            served = [np.array(run.results["served"][low:high], dtype=np.float64).sum(axis=0) for run in group]
            found = {
                "accepted_mean": over_seeds([sums[0] / sums[1] if sums[1] else math.nan for sums in served], confidence)
            }
            tokens = float(np.mean([sums[2] for sums in served]))
            yield {"dataset": data, "prompts": number_text(high), "tokens": number_text(tokens), **_cells(found)}
        begin += count


def _beside(run: Run, other: Mapping[str, Any], confidence: float) -> dict[str, str]:
    """An exit trained before, on the same prompts: `tokens` and `learning_s` are those of its training."""
    accepted, cycles = np.array(list(other["by_prompt"].values()), dtype=np.float64).T
    with np.errstate(divide="ignore", invalid="ignore"):
        without = (accepted.sum() - accepted) / (cycles.sum() - cycles)
    value = float(accepted.sum() / cycles.sum()) if cycles.sum() else math.nan
    of_prompts = jackknife(without), len(without)  # one seed: the choice of prompts is all that varies
    found = {"accepted_mean": around(value, [(0.0, 2), of_prompts], confidence) if value == value else Estimate()}
    return {
        "learner": other["name"],
        "objective": "trained before",
        "lossless_against": "base",
        "part": "beside",
        "dataset": str(run.config["dataset"]),
        "tokens": number_text(other["training_tokens"]),
        "learning_s": number_text(other["training_seconds"]),
        **_cells(found),
    }


def _cells(found: dict[str, Estimate]) -> dict[str, str]:
    return {key: text for name, made in found.items() for key, text in cell(name, made).items()} | {
        "interval_note": note(found)
    }
