"""Raw rows of batch, lengths, peers and identity -> the tables beside results.csv, every estimate with its interval."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from selfdraft.errors import StudyError
from selfdraft.statistics import cost_model, speeds
from selfdraft.statistics.bootstrap import Bootstrap, Estimate
from selfdraft.statistics.columns import SETTINGS, SPEED_SUMS
from selfdraft.statistics.raw_tables import numbers, read_text
from selfdraft.statistics.tables import cell, number_text, write_results

Table = tuple[list[str], list[dict[str, str]]]


def read(path: Path, texts: Sequence[str], measured: Sequence[str]) -> pd.DataFrame:
    """A raw table with these columns, `measured` as numbers. Raises StudyError naming the file and the column."""
    table = read_text(path)
    missing = [name for name in (*texts, *measured) if name not in table.columns]
    if missing:
        raise StudyError(f"{path}: column {', '.join(missing)} is missing")
    return table.assign(**{name: numbers(table, name, path) for name in measured})


def with_intervals(names: Sequence[str]) -> list[str]:
    """Each name followed by its `_low` and `_high`."""
    return [column for name in names for column in (name, f"{name}_low", f"{name}_high")]


def batch_table(path: Path, bootstrap: Bootstrap) -> Table:
    """batch.csv: a row per point and batch size; the unit is the batch, vanilla ran the same batches."""
    where = ("dtype", "threads", "device")
    sums = ("batch", "group", "new_tokens", "decode_s", "cycles", "accepted")
    rows = read(path, (*SETTINGS, "method", *where), sums)
    vanilla = dict(iter(rows[rows["method"] == "vanilla"].groupby(["policy", "batch"])))
    made = []
    drafted = rows[rows["method"] == "speculative"]
    for key, part in drafted.groupby([*SETTINGS, "batch"], sort=False):
        named = dict(zip((*SETTINGS, "batch"), key, strict=True))
        name = "/".join(map(str, key))
        base = vanilla.get((named["policy"], named["batch"]))
        if base is None:
            raise StudyError(f"{path}: no vanilla rows for policy {named['policy']} and batch {named['batch']:g}")
        ours, theirs = (one.set_index("group").sort_index() for one in (part, base))
        if list(ours.index) != list(theirs.index):
            raise StudyError(f"{path}: {name}: vanilla and speculative ran different batches; measure them in one run")
        estimates = {
            "vanilla_tps": bootstrap.ratio(theirs["new_tokens"], theirs["decode_s"], (name, "vanilla"), "batches"),
            "spec_tps": bootstrap.ratio(ours["new_tokens"], ours["decode_s"], (name, "spec"), "batches"),
            "speedup": bootstrap.estimate(
                cost_model.rate_ratio,
                [ours["new_tokens"], ours["decode_s"], theirs["new_tokens"], theirs["decode_s"]],
                (name, "speedup"),
                "batches",
            ),
            "accepted_mean": bootstrap.ratio(ours["accepted"], ours["cycles"], (name, "accepted"), "batches"),
        }
        row = {**{k: str(v) for k, v in named.items()}, "batch": f"{named['batch']:g}", "batches": str(len(ours))}
        made.append(row | {column: str(part[column].iloc[0]) for column in where} | cells(estimates))
    columns = [*SETTINGS, "batch", *where, "batches"]
    return columns + with_intervals(["vanilla_tps", "spec_tps", "speedup", "accepted_mean"]), made


def peers_table(path: Path, bootstrap: Bootstrap) -> Table:
    """peers.csv: a row per method, implementation, dtype and batch; the unit is the group of prompts.

    `accepted_mean` is draft tokens accepted per call of the target, counted over all cycles;
    `ratio_to_transformers` compares with transformers' same method, paired by group.
    """
    texts = ("method", "implementation", "version", "dtype", "threads", "device")
    measured = ("batch", "group", "new_tokens", "seconds", "cycles", "accepted", "identical")
    rows = read(path, texts, measured)
    keys = ["method", "implementation", "dtype", "batch"]
    groups = {key: part.set_index("group").sort_index() for key, part in rows.groupby(keys, sort=False)}
    made = []
    for (method, implementation, dtype, batch), part in groups.items():
        name = f"{method}/{implementation}/{dtype}/{batch:g}"
        estimates = {
            "tokens_per_second": bootstrap.ratio(part["new_tokens"], part["seconds"], (name, "rate"), "groups"),
            "ratio_to_transformers": Estimate(),
            "accepted_mean": Estimate(),
        }
        stock = groups.get((method, "transformers", dtype, batch))
        if stock is not None and list(stock.index) == list(part.index):
            sums = [part["new_tokens"], part["seconds"], stock["new_tokens"], stock["seconds"]]
            ratio = bootstrap.estimate(cost_model.rate_ratio, sums, (name, "ratio"), "groups")
            estimates["ratio_to_transformers"] = ratio
        if not part["cycles"].isna().any():
            estimates["accepted_mean"] = bootstrap.ratio(part["accepted"], part["cycles"], (name, "accepted"), "groups")
        row = {"method": str(method), "implementation": str(implementation), "dtype": str(dtype)}
        row["batch"] = f"{batch:g}"
        row |= cells(estimates) | {"identical": number_text(float(part["identical"].mean()))}
        row |= {column: str(part[column].iloc[0]) for column in ("version", "threads", "device")}
        made.append(row | {"groups": str(len(part))})
    columns = ["method", "implementation", "dtype", "batch"]
    columns += with_intervals(["tokens_per_second", "ratio_to_transformers", "accepted_mean"])
    return [*columns, "identical", "version", "threads", "device", "groups"], made


def identity_table(path: Path, bootstrap: Bootstrap) -> Table:
    """identity.csv: the share of prompts whose greedy output is vanilla's, and each first divergence.

    `first_divergences` lists `position:gap` of every prompt that parts ways: the new token's position from
    0, and the target's top-2 logit gap there in nats.
    """
    texts = (*SETTINGS, "dtype", "device", "prompt")
    rows = read(path, texts, ("new_tokens", "identical", "first_divergence", "top2_gap"))
    made = []
    for key, part in rows.groupby([*SETTINGS, "dtype", "device"], sort=False):
        named = dict(zip((*SETTINGS, "dtype", "device"), map(str, key), strict=True))
        share = bootstrap.ratio(part["identical"], [1.0] * len(part), ("/".join(named.values()), "same"), "prompts")
        apart = part[part["identical"] == 0]
        gaps = apart["top2_gap"]
        row = named | {"prompts": str(len(part)), "new_tokens": f"{part['new_tokens'].sum():g}"}
        row |= cells({"identical": share}) | {"divergences": str(len(apart))}
        row |= {
            "top2_gap_median": number_text(float(gaps.median())) if len(gaps) else "",
            "top2_gap_max": number_text(float(gaps.max())) if len(gaps) else "",
            "first_divergences": ";".join(
                f"{at:g}:{gap:.4g}" for at, gap in zip(apart["first_divergence"], gaps, strict=True)
            ),
        }
        made.append(row)
    columns = [*SETTINGS, "dtype", "device", "prompts", "new_tokens", *with_intervals(["identical"])]
    return [*columns, "divergences", "top2_gap_median", "top2_gap_max", "first_divergences"], made


# lengths.csv: the estimates in their order, those of vanilla decoding before those of the draft.
OF_LENGTHS = (
    *("vanilla_s", "spec_s", "speedup", "vanilla_tps", "spec_tps"),
    *("vanilla_calls_per_token", "target_calls_per_token", "accepted_mean", "accept_rate", "prefill_ms"),
)


def lengths_table(path: Path, bootstrap: Bootstrap) -> Table:
    """lengths.csv: a row per point and length of the answer; the unit is the prompt, vanilla ran the same prompts.

    Rates and speedup are those of results.csv, which single bad runs cannot move; `vanilla_s` and `spec_s` are what
    `length` tokens take at these rates, without the prefill.
    """
    where = ("dtype", "threads", "device")
    rows = read(path, (*SETTINGS, "method", "prompt", "pair", *where), ("length", "target_calls", *SPEED_SUMS))
    rows = rows.assign(repeat=0)  # an answer of one length is timed once
    vanilla = dict(iter(rows[rows["method"] == "vanilla"].groupby(["policy", "length"])))
    made = []
    drafted = rows[rows["method"] == "speculative"]
    for key, part in drafted.groupby([*SETTINGS, "length"], sort=False):
        *point, length = key
        length = float(str(length))
        named = dict(zip(SETTINGS, map(str, point), strict=True)) | {"length": f"{length:g}"}
        name = "/".join(named.values())
        base = vanilla.get((named["policy"], length))
        if base is None:
            raise StudyError(f"{path}: no vanilla rows for policy {named['policy']} and length {length:g}")
        if {*part["prompt"]} != {*base["prompt"]}:
            raise StudyError(f"{path}: {name}: vanilla and speculative ran different prompts; measure them in one run")
        found = length_estimates(part, base, length, float(named["gamma"]), bootstrap, name)
        row = named | {"samples": str(part["prompt"].nunique())}
        row |= {column: str(part[column].iloc[0]) for column in where}
        row |= cells({estimate: found[estimate] for estimate in OF_LENGTHS})
        made.append(row | {"disturbed": number_text(found["disturbed"].value)})
    columns = [*SETTINGS, "length", *where, "samples"]
    return [*columns, *with_intervals(OF_LENGTHS), "disturbed"], made


def length_estimates(
    rows: pd.DataFrame, vanilla: pd.DataFrame, length: float, gamma: float, bootstrap: Bootstrap, name: str
) -> dict[str, Estimate]:
    """`OF_LENGTHS` and `disturbed` of one point and length, from its runs and vanilla's."""
    found = dict.fromkeys((*OF_LENGTHS, "disturbed"), Estimate())
    found |= speeds.estimates(rows, vanilla, rows.iloc[:0], None, None, None, bootstrap, name)
    for of_length, rate in (("vanilla_s", "vanilla_tps"), ("spec_s", "spec_tps")):
        found[of_length] = found[rate].mapped(lambda tokens_per_second: length / tokens_per_second)
    ratios = {
        "vanilla_calls_per_token": (vanilla, "target_calls", "new_tokens"),
        "target_calls_per_token": (rows, "target_calls", "new_tokens"),
        "accepted_mean": (rows, "accepted", "cycles"),
    }
    for of, (table, numerator, denominator) in ratios.items():
        sums = table.groupby("prompt", sort=True)[[numerator, denominator]].sum()
        found[of] = bootstrap.ratio(sums[numerator], sums[denominator], (name, of), "prompts")
    found["accept_rate"] = found["accepted_mean"].mapped(lambda mean: mean / gamma)
    return found


def cells(estimates: dict[str, Estimate]) -> dict[str, str]:
    """The text of all estimates, with their intervals."""
    return {column: text for name, made in estimates.items() for column, text in cell(name, made).items()}


TABLES: dict[str, Callable[[Path, Bootstrap], Table]] = {
    "batch": batch_table,
    "peers": peers_table,
    "identity": identity_table,
    "lengths": lengths_table,
}


def write_table(
    kind: str, raw: Path, out: Path, bootstrap: Bootstrap, commit: str = "", config_hash: str = ""
) -> list[dict[str, Any]]:
    """Make one of the tables and write it whole, commit and config hash in every row; returns its rows."""
    columns, rows = TABLES[kind](raw, bootstrap)
    told = {"commit": commit, "config_hash": config_hash}
    rows = [row | told for row in rows]
    write_results(out, [*columns, *told], rows)
    return rows
