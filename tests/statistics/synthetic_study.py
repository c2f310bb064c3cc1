"""Raw tables of a study that was never run, with numbers of a likely size, for tests and for looking at figures.

`python tests/statistics/synthetic_study.py OUT_DIR` writes OUT_DIR/{quality,acceptance,speed,steps}.csv,
machine.json and {checkpoints,drafters}/*/train_log.jsonl.
"""

import csv
import itertools
import json
import sys
from pathlib import Path

import numpy as np

from selfdraft.statistics.columns import CHECKPOINT, RAW_COLUMNS, SETTINGS

N_LAYERS = 30
SWEEPS = {
    "layers": {
        "layer": [6, 14, 21, 29],
        "T": [1.0],
        "capacity": ["head", "head_block"],
        "gamma": [4],
        "policy": ["greedy", "t0.7"],
    },
    "temperature": {
        "layer": [21],
        "T": [1.0, 2.0, 4.0],
        "capacity": ["head_block"],
        "gamma": [4],
        "policy": ["greedy"],
    },
    "gamma": {
        "layer": [14, 21],
        "T": [1.0],
        "capacity": ["head_block"],
        "gamma": [2, 4, 8],
        "policy": ["greedy"],
    },
    "drafting": {
        "layer": [14, 21],
        "T": [1.0],
        "capacity": ["head_block"],
        "gamma": [4],
        "policy": ["greedy", "t0.7"],
        "drafting": ["fixed", "confident", "trimmed", "adaptive"],
    },
}
# accepted tokens and drafting time of the ways of drafting, against fixed
DRAFTING = {"fixed": (1.0, 1.0), "confident": (1.04, 0.6), "trimmed": (0.94, 0.75), "adaptive": (1.02, 0.7)}
KL = {"head": (7.5, 7.1, 6.5, 0.0), "head_block": (4.6, 3.8, 2.3, 0.0)}
ALPHA = {"head": (0.22, 0.27, 0.35, 0.999), "head_block": (0.38, 0.47, 0.62, 0.999)}
TRAINED = {"head": 28_311_552, "head_block": 31_850_496}
# the other capacities, measured at one layer
CAPACITIES = {
    "layer": [21],
    "T": [1.0],
    "capacity": ["head", "head_block", "norm", "translator", "low_rank_head", "adapter", "lora"],
    "gamma": [4],
    "policy": ["greedy", "t0.7"],
}
for name, kl, alpha, trained in (
    ("norm", 9.1, 0.2, 576),
    ("translator", 4.4, 0.45, 332_352),
    ("low_rank_head", 6.9, 0.3, 3_182_656),
    ("adapter", 3.6, 0.5, 1_106_496),
    ("lora", 3.9, 0.48, 1_075_008),
):
    KL[name], ALPHA[name], TRAINED[name] = (kl,) * 4, (alpha,) * 4, trained
# data sets that the sweep `domains` is measured on besides its own: KL against it (or none), acceptance against it
DOMAINS = {"news": (1.6, None), "code": (None, 0.7), "other_chats": (1.05, 0.97)}
OF_DOMAINS = {"layer": [21], "T": [1.0], "capacity": ["head", "head_block"], "gamma": [4], "policy": ["greedy"]}
VANILLA_STEP_S = 0.030


def points(sweeps=SWEEPS):
    """Settings of every point, in the order of SETTINGS, without repeats."""
    seen = {}
    for sweep in sweeps.values():
        grid = [sweep[name] for name in ("layer", "T", "capacity", "gamma", "policy")]
        for layer, T, capacity, gamma, policy, way in itertools.product(*grid, sweep.get("drafting", ["fixed"])):
            key = ("early_exit", layer, T, capacity, "kl", 0, policy, gamma, "sharegpt", way)
            seen[key] = dict(zip(SETTINGS, key, strict=True))
    return list(seen.values())


def at_layer(table, point):
    """A value between those of the four layers of the default study."""
    return float(np.interp(point["layer"], (6, 14, 21, 29), table[point["capacity"]]))


def quality_rows(point, conversations, rng):
    """One row per held-out conversation; the teacher's values do not depend on the draft."""
    shared = np.random.default_rng(1)
    kl = at_layer(KL, point) * (1.0 + 0.08 * np.log2(point["T"]))
    for number in range(conversations):
        tokens = int(shared.integers(60, 400))
        hard = shared.lognormal(0.0, 0.25)
        teacher_ce = 1.55 * hard
        agreement = 1.0 / (1.0 + 0.6 * kl)
        yield {name: point[name] for name in CHECKPOINT} | {
            "conversation": f"c{number}",
            "tokens": tokens,
            "kl_sum": tokens * kl * hard / point["T"],
            "kl_at_1_sum": tokens * kl * hard,
            "ce_sum": tokens * (teacher_ce + 0.8 * kl * hard),
            "top1_sum": rng.binomial(tokens, 0.62 * agreement),
            "top5_sum": rng.binomial(tokens, min(0.99, 0.82 * agreement + 0.05)),
            "agreement_sum": rng.binomial(tokens, agreement),
            "teacher_ce_sum": tokens * teacher_ce,
            "teacher_top1_sum": shared.binomial(tokens, 0.62),
            "trained_parameters": TRAINED[point["capacity"]],
            "trained_bytes": 2 * TRAINED[point["capacity"]],
        }


def run(point, max_new_tokens, rng, hard):
    """Accepted tokens of each cycle of one generation, and whether it was cut short."""
    alpha = at_layer(ALPHA, point) ** (0.9 if point["policy"] == "greedy" else 1.0) * hard
    alpha *= DRAFTING[point["drafting"]][0]
    alpha = min(alpha * (1.0 - 0.04 * np.log2(point["T"])), 0.9995)
    left = max_new_tokens
    while left > 0:
        accepted = 0
        while accepted < point["gamma"] and rng.random() < alpha:
            accepted += 1
        cut = left < point["gamma"] + 1
        accepted = min(accepted, left - 1)
        yield accepted, min(point["gamma"], left), alpha, cut
        left -= accepted + 1


def acceptance_rows(point, prompts, rng, hard):
    """One row per cycle."""
    for prompt in range(prompts):
        for cycle, (accepted, drafted, alpha, cut) in enumerate(run(point, 64, rng, hard[prompt])):
            yield point | {
                "prompt": f"p{prompt}",
                "cycle": cycle,
                "drafted": drafted,
                "accepted": accepted,
                "overlap_sum": drafted * alpha * rng.uniform(0.9, 1.0),
                "new_tokens": accepted + 1,
                "cut": int(cut),
                "identical": 1 if point["policy"] == "greedy" else "",
                "dtype": "float32",
            }


def step_times(point, step=VANILLA_STEP_S):
    """Seconds of one drafted token, and of a verification, without noise."""
    part = (point["layer"] + 1) / N_LAYERS
    return step * (0.75 * part + 0.1) * DRAFTING[point["drafting"]][1], step * (1.1 - 0.75 * part)


def whole_run(point, new_tokens, rng, hard):
    """Accepted tokens of each cycle until `new_tokens` have been returned, no draft cut short."""
    left, cycles = new_tokens, []
    while left > 0:
        (accepted, *_), *_ = run(point, 64, rng, hard)
        cycles.append(accepted)
        left -= accepted + 1
    return cycles


def speed_rows(policy, of_policy, prompts, repeats, rng, hard, new_tokens=16):
    """One row a run: two drafts around a vanilla run, transformers on the first stretch."""
    baseline = dict.fromkeys(SETTINGS, "") | {"policy": policy, "dataset": "sharegpt"}
    rest = {"prefill_s": 0.2, "dtype": "bfloat16", "threads": 2, "device": "cpu", "peak_memory_mb": 1400}
    rest |= {"context": 160, "captures": 0, "cpu_s": 1.0, "wait_s": 0.0, "switches": 1, "pressure_s": 0.0}
    rest |= {"reference_before_s": VANILLA_STEP_S, "reference_after_s": VANILLA_STEP_S, "disturbed": 0, "attempts": 1}
    none = dict.fromkeys(("accepted", "draft_s", "verify_s", "accept_s"), "")
    for prompt, repeat in itertools.product(range(prompts), range(repeats)):
        blocks = [of_policy[at : at + 2] for at in range(0, len(of_policy), 2)]
        for pair, block in enumerate([*blocks, []]):
            step = VANILLA_STEP_S * rng.lognormal(0.0, 0.05)
            here = rest | {"prompt": f"p{prompt}", "repeat": repeat, "pair": pair}
            methods = [("vanilla", 1.0)] + ([("transformers", 1.28)] if not block and not repeat else [])
            for method, factor in methods:
                yield (
                    baseline
                    | here
                    | none
                    | {
                        "drafter": method,
                        "method": method,
                        "new_tokens": new_tokens,
                        "decode_s": new_tokens * step * factor * rng.lognormal(0.0, 0.02),
                        "cycles": "",
                        "bytes_read": new_tokens * 270e6,
                        "waits": new_tokens,
                    }
                )
            for point in block:
                cycles = whole_run(point, new_tokens, rng, hard[prompt])
                drafted, verified = step_times(point, step)
                draft, verify = len(cycles) * point["gamma"] * drafted, len(cycles) * verified
                part = (point["layer"] + 1) / N_LAYERS
                yield (
                    point
                    | here
                    | {
                        "method": "speculative",
                        "new_tokens": sum(cycles) + len(cycles),
                        "decode_s": draft + verify + 0.0035 * len(cycles) * rng.lognormal(0.0, 0.2),
                        "cycles": len(cycles),
                        "accepted": sum(cycles),
                        "draft_s": draft,
                        "verify_s": verify,
                        "accept_s": 0.001 * len(cycles),
                        "bytes_read": len(cycles) * 270e6 * (1 + point["gamma"] * part),
                        "waits": len(cycles),
                    }
                )


def step_rows(policy, of_policy, rng, rounds=3):
    """One row a step and round, at two contexts."""
    rest = {"dtype": "bfloat16", "threads": 2, "device": "cpu"}
    vanilla = dict.fromkeys(SETTINGS, "") | {"policy": policy, "dataset": "sharegpt", "drafter": "vanilla"}
    for context, number in itertools.product((80, 240), range(rounds)):
        slow = (1.0 + context / 4000) * rng.lognormal(0.0, 0.02)
        here = rest | {"context": context, "round": number}
        yield vanilla | here | {"step": "vanilla", "tokens": 1, "seconds": VANILLA_STEP_S * slow}
        for point in of_policy:
            draft, verify = step_times(point, VANILLA_STEP_S * slow)
            gamma = point["gamma"]
            yield point | here | {"step": "draft", "tokens": gamma, "seconds": draft * gamma}
            yield point | here | {"step": "verify", "tokens": gamma + 1, "seconds": verify}
            yield point | here | {"step": "verify", "tokens": 1, "seconds": 0.9 * verify}


def log_lines(point, rng):
    """A training log, with the held-out KL at step 0 and every tenth step."""
    end, start = at_layer(KL, point) + 0.05, 12.0 * (1.2 - point["layer"] / N_LAYERS)
    for step in range(59):
        level = end + (start - end) * np.exp(-step / 12)
        loss = point["T"] ** 2 * level * rng.lognormal(0.0, 0.06)
        held_out = level if step % 10 == 0 or step == 58 else None
        yield {
            "step": step,
            "tokens": step * 1024,
            "loss": None if step == 0 else loss,
            "lr": 1e-3,
            "validation_kl": held_out,
            "tokens_per_second": 850.0,
        }


def drafter_lines(best, rng):
    """The log of a drafter with a layer of its own: the validation text before training, and six times in it."""
    for step in range(61):
        accepted = 0.3 + best * (1 - np.exp(-step / 25)) + rng.normal(0, 0.01) if step % 10 == 0 else None
        loss = None if step == 0 else 2.0
        yield {"step": step, "tokens": 512 * step, "loss": loss, "validation_accepted": accepted}


def write_csv(path, columns, rows):
    """Rows as a CSV table in the order of `columns`."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_study(out, sweeps=SWEEPS, conversations=60, prompts=24, speed_prompts=16, repeats=2, seed=0):
    """Write the whole synthetic study below `out`."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    hard = rng.uniform(0.9, 1.08, size=max(prompts, speed_prompts))
    hard = np.minimum(hard, 1.0)
    measured = points(sweeps)
    checkpoints = {(p["layer"], p["T"], p["capacity"]): p for p in measured}
    quality = [row for p in checkpoints.values() for row in quality_rows(p, conversations, rng)]
    acceptance = [row for p in measured for row in acceptance_rows(p, prompts, rng, hard)]
    speed, steps = [], []
    for policy in dict.fromkeys(p["policy"] for p in measured):
        of_policy = [p for p in measured if p["policy"] == policy]
        speed += speed_rows(policy, of_policy, speed_prompts, repeats, rng, hard)
        steps += step_rows(policy, of_policy, rng)
    for kind, rows in (("quality", quality), ("acceptance", acceptance), ("speed", speed), ("steps", steps)):
        write_csv(out / f"{kind}.csv", RAW_COLUMNS[kind], rows)
    (out / "machine.json").write_text(json.dumps({"read_bandwidth_gb_s": 31.0}))
    for (layer, T, capacity), point in checkpoints.items():
        log = out / "checkpoints" / f"layer{layer}_T{T}_{capacity}" / "train_log.jsonl"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("".join(json.dumps(line) + "\n" for line in log_lines(point, rng)))
    for name, best in (("eagle3", 0.9), ("eagle3_one_feature", 0.6)):
        log = out / "drafters" / name / "train_log.jsonl"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("".join(json.dumps(line) + "\n" for line in drafter_lines(best, rng)))
    return out


def lookup(point):
    """The same point drafted by prompt lookup, which has nothing that is trained."""
    return point | {"drafter": "lookup"} | dict.fromkeys(("layer", "T", "capacity", "objective", "seed"), "")


def acceptance_of_lookup(point, prompts, rng, hard):
    """Rows per cycle of prompt lookup; `point` is a trained one that it is compared with."""
    return [row | lookup(point) for row in acceptance_rows(point, prompts, rng, 0.5 * hard)]


def write_domains(study, out, conversations=60, prompts=24, seed=1):
    """Write to `out` the tables of `study` with the points of OF_DOMAINS, and lookup, on other data sets too."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    measured = points({"domains": OF_DOMAINS})
    more = {"quality": [], "speed": [], "steps": []}
    more["acceptance"] = acceptance_of_lookup(measured[0], prompts, rng, np.full(prompts, 0.9))
    for dataset, (kl, alpha) in DOMAINS.items():
        of_set = [point | {"dataset": dataset} for point in measured]
        if kl:
            rows = [row for point in of_set for row in quality_rows(point, conversations, rng)]
            more["quality"] += [row | {"kl_sum": kl * row["kl_sum"]} for row in rows]
        if alpha:
            hard = np.full(prompts, alpha)
            more["acceptance"] += [row for point in of_set for row in acceptance_rows(point, prompts, rng, hard)]
            more["acceptance"] += acceptance_of_lookup(of_set[0], prompts, rng, hard)
    for kind, rows in more.items():
        with (Path(study) / f"{kind}.csv").open(newline="") as file:
            have = list(csv.DictReader(file))
        write_csv(out / f"{kind}.csv", RAW_COLUMNS[kind], [*have, *rows])
    return out


if __name__ == "__main__":
    write_study(sys.argv[1])
