"""The tables beside results.csv of a study that was never run, with numbers of a likely size.

`python tests/figures/side_tables.py OUT_DIR` writes OUT_DIR/{batch,lengths,peers,compile}.csv.
"""

import csv
import itertools
import sys
from pathlib import Path

SETTINGS = {"drafter": "early_exit", "T": "1.0", "objective": "kl", "seed": "0", "gamma": "4", "dataset": "sharegpt"}
LOOKUP = SETTINGS | {"drafter": "lookup", "layer": "", "T": "", "capacity": "", "objective": "", "seed": ""}
RATES = {  # tokens/s in bfloat16, batch 1
    "vanilla": {"selfdraft": 41.0, "transformers": 24.5, "economize": 27.0},
    "early exit": {"selfdraft": 33.0, "transformers": 9.1, "economize": 24.0},
    "prompt lookup": {"selfdraft": 52.0, "transformers": 26.0, "economize": 31.0},
    "draft model": {"selfdraft": 19.0, "transformers": 4.4},
}
MODES = {"eager": (1.0, ""), "compile": (0.62, 21.0), "compile reduce-overhead": (0.48, 26.0), "cuda graph": (0.5, 0.4)}


def estimate(name, value, spread):
    """A value and its interval; none without a spread."""
    ends = (value * (1 - spread), value * (1 + spread)) if spread else ("", "")
    return {name: value, f"{name}_low": ends[0], f"{name}_high": ends[1]}


def batches(sizes=(1, 2, 4, 8, 16), layers=(14, 21), policies=("greedy",), spread=0.04):
    """Rows of batch.csv: exits after `layers`, and prompt lookup; less to gain in larger batches."""
    for policy, size in itertools.product(policies, sizes):
        vanilla = 40.0 * size**0.72 * (1.0 if policy == "greedy" else 0.93)
        exits = [{**SETTINGS, "capacity": "head_block", "layer": layer} for layer in layers]
        for place, draft in enumerate([*exits, LOOKUP] if len(layers) > 1 else exits):
            speedup = (0.8 + 0.35 * place) * size**-0.12
            yield draft | {
                "policy": policy,
                "drafting": "fixed",
                "batch": size,
                "dtype": "bfloat16",
                "device": "cpu",
                "batches": 10,
                **estimate("vanilla_tps", vanilla, spread),
                **estimate("spec_tps", vanilla * speedup, spread),
                **estimate("speedup", speedup, spread),
                **estimate("accepted_mean", 0.9 + place, spread),
            }


def lengths(counts=(50, 100, 200, 500, 1000), layers=(21,), policies=("greedy",), spread=0.04):
    """Rows of lengths.csv: vanilla decoding slows down with the context, lookup finds more in a longer text."""
    for policy, count in itertools.product(policies, counts):
        vanilla = 40.0 * count**-0.05
        exits = [{**SETTINGS, "capacity": "head_block", "layer": layer} for layer in layers]
        for place, draft in enumerate([*exits, LOOKUP] if spread else exits):
            speedup = 0.7 + place * 0.1 * count**0.3
            yield draft | {
                **{"policy": policy, "drafting": "fixed", "length": count, "dtype": "bfloat16", "device": "cpu"},
                **estimate("vanilla_s", count / vanilla, spread),
                **estimate("spec_s", count / vanilla / speedup, spread),
                **estimate("speedup", speedup, spread),
                **estimate("accept_rate", 0.1 + 0.02 * place * count**0.3, spread),
            }


def peers(runs=(("bfloat16", 1), ("bfloat16", 8), ("float32", 1)), methods=tuple(RATES), spread=0.05):
    """Rows of peers.csv; in batches transformers has vanilla alone."""
    for (dtype, batch), method in itertools.product(runs, methods):
        rates = {
            name: rate * batch**0.8 * (0.6 if dtype == "float32" else 1.0)
            for name, rate in RATES[method].items()
            if batch == 1 or method == "vanilla" or name == "selfdraft"
        }
        for name, rate in rates.items():
            yield {
                "method": method,
                "implementation": name,
                "dtype": dtype,
                "batch": batch,
                **estimate("tokens_per_second", rate, spread),
                "ratio_to_transformers": rate / rates["transformers"] if "transformers" in rates else "",
                "accepted_mean": "" if method == "vanilla" else 1.2,
                "identical": 1 if dtype == "float32" else 0.9,
            }


def compiled(depths=(8, 16, 30), modes=tuple(MODES), device="cuda", spread=0.06):
    """Rows of compile.csv; on the CPU the modes that need CUDA say so and have no numbers."""
    for depth, mode in itertools.product(depths, modes):
        factor, seconds = MODES[mode]
        step = (1.5 + 0.55 * depth) * factor
        row = {"depth": depth, "mode": mode, "dtype": "bfloat16", "batch": 1, "device": device}
        if device == "cpu" and mode in ("compile reduce-overhead", "cuda graph"):
            yield row | {"note": "CUDA graphs need a CUDA device"}
        else:
            row |= estimate("step_ms", step, spread) | {"tokens_per_second": 1000 / step, "ratio_to_eager": 1 / factor}
            yield row | {"compile_s": seconds and seconds * (0.4 + depth / 30)}


def write(path, rows):
    """Rows as a CSV table; the columns are those of all rows."""
    rows = list(rows)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def head_curves(layers=(7, 14), points=6, spread=0.03):
    """Rows of head_curves.csv: deeper heads agree more often; all are a little too sure."""
    rows = []
    for layer in layers:
        for curve, last in (("threshold", 8.0), ("reliability", 0.95)):
            for place in range(points):
                share = (place + 1) / points
                agreement = 1 - share * 5 / layer if curve == "threshold" else share * 0.9
                row = {"drafter": "many", "layer": layer, "dataset": "sharegpt", "curve": curve, "at": share * last}
                for name, value in (("agreement", agreement), ("exit_rate", share)):
                    row |= {name: value, f"{name}_low": "", f"{name}_high": ""}
                    if spread:
                        row |= {f"{name}_low": value - spread, f"{name}_high": value + spread}
                rows.append(row | {"tokens": 100, "dtype": "float32", "commit": "abc", "config_hash": "123"})
    return rows


def ends(name, value, spread):
    """A value with its interval, if there is one."""
    low, high = (value - spread, value + spread) if spread else ("", "")
    return {name: value, f"{name}_low": low, f"{name}_high": high}


SAID = {
    "T": "",
    "objective": "",
    "seed": "",
    "policy": "greedy",
    "gamma": 4,
    "dataset": "sharegpt",
    "drafting": "fixed",
}


def exit_layers(levels=(0.5, 0.7, 0.9), layers=(7, 14, 21), spread=0.02):
    """Rows of exit_layers.csv: higher levels leave deeper; layer 14 is the fastest of the fixed exits."""
    rows = []

    def point(drafter, kind, level, capacity, speedup, shares):
        about = {"drafter": drafter, "capacity": capacity, **SAID, "kind": kind, "accuracy_level": level}
        about |= {"heads": "" if capacity else "many", "measure": "entropy" if level else "", "rule": "", "risk": ""}
        about |= ends("speedup", speedup, spread) | ends("accept_rate", speedup / 2, spread)
        about |= ends("speedup_over_fixed", "" if capacity else speedup - 0.9, 0 if capacity else spread)
        for layer, share in shares.items():
            rows.append(about | {"layer": layer} | ends("share", share, spread) | {"commit": "abc", "config_hash": "1"})

    for place, level in enumerate(levels):
        shares = {layer: 0.2 + 0.1 * place * number for number, layer in enumerate(layers)}
        point(f"adaptive-{level}", "adaptive_early_exit", level, "", 0.8 + 0.1 * place, shares)
    about = {name: value for name, value in rows[-1].items() if not name.startswith(("speedup", "accept", "share"))}
    rows.append(about | {"kind": "best_level", "layer": "", "rule": ""} | ends("speedup_over_fixed", 0.07, spread))
    point("dynamic", "dynamic", "", "", 1.02, {layers[-1]: 1.0})
    for layer in layers:
        point(
            "early_exit", "fixed_exit", "", "translator", 0.9 if layer == layers[len(layers) // 2] else 0.7, {layer: 1}
        )
    return rows


def unverified(layers=(7, 14), levels=("0.50", "0.75", "0.95"), spread=0.02):
    """Rows of unverified.csv: the highest level is not reached, and what is observed is below what is promised."""
    rows = []
    for mode, layer, level in [
        ("full", "", ""),
        *(("fixed_exit", layer, "") for layer in layers),
        *(("lossy_adaptive", "", level) for level in levels),
    ]:
        row = {"drafter": "many", "mode": mode, "layer": layer, "accuracy_level": level, "dataset": "sharegpt"}
        told = mode != "lossy_adaptive" or level != "0.95"
        risk = 1 - float(level) if level else 0.0 if mode == "full" else 6 / layer
        row |= {"promised_risk": risk if level else "", "observed_risk": 0.8 * risk if level and told else ""}
        for name, value in (("speedup", 1 + risk), ("disagreement", 1.1 * risk)):
            row |= ends(name, value, spread) if told else {name: "", f"{name}_low": "", f"{name}_high": ""}
        rows.append(row | {"commit": "abc", "config_hash": "1"})
    return rows


def write_all(out, tiny=False):
    """The five tables; `tiny`: one point each, without intervals."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    write(out / "batch.csv", batches((1,), (1,), spread=0) if tiny else batches())
    write(out / "lengths.csv", lengths((50,), (1,), spread=0) if tiny else lengths())
    write(out / "peers.csv", peers((("float32", 1),), ("vanilla",), spread=0) if tiny else peers())
    write(out / "head_curves.csv", head_curves((7,), 1, 0) if tiny else head_curves())
    write(out / "exit_layers.csv", exit_layers((0.5,), (7,), 0) if tiny else exit_layers())
    write(out / "unverified.csv", unverified((7,), ("0.50",), 0) if tiny else unverified())
    write(out / "compile.csv", compiled((2,), ("eager",), "cpu", spread=0) if tiny else compiled())


if __name__ == "__main__":
    write_all(sys.argv[1])
