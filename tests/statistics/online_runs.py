"""Folders as `selfdraft dvi` leaves them, of runs that never were: what a draft accepts rises with what it has seen."""

import json

import numpy as np

ONLINE = {"objective": "composite", "share": "head", "draft": "argmax", "fast_batch": 32, "seed": 0}
STREAM = (("chats", 20), ("code", 10))


def write_run(
    folder,
    objective="composite",
    seed=0,
    rise=0.5,
    prompts=12,
    stream=STREAM,
    beside=(),
    looks=4,
    trained=(4000, 9.5),
    **settings,
):
    """One run; each look at the held-out prompts accepts `rise` / looks more a cycle than the one before."""
    rng = np.random.default_rng([seed, len(objective)])
    hard = np.random.default_rng(0).uniform(0.5, 1.5, prompts)  # the same prompts in every run
    served = sum(count for _, count in stream)

    def by_prompt(mean):
        return {f"p{i}": [float(20 * mean * h + rng.normal()), 20] for i, h in enumerate(hard)}

    evaluations = [
        {"prompts": served * look // (looks - 1), "updates": 3 * look, "served_tokens": 60 * look, "tokens": 1000}
        | {"learning_s": 0.5 * look, "decoding_s": 4.0 * look, "seconds": 10.0 - 0.5 * look + 0.1 * seed}
        | {"grad_square": 12.0 * look, "grad_variance": (3.0 + seed) * look**2}
        | {"by_prompt": by_prompt(1 + rise * look / (looks - 1))}
        for look in range(looks)
    ]
    exit_ = {"training_tokens": trained[0], "training_seconds": trained[1], "tokens": 1000, "seconds": 8.0}
    results = {
        "evaluations": evaluations,
        "buffer_bytes": 9000,
        "stream": [list(part) for part in stream],
        "served": [[float(rng.poisson(3) + 1), 3, 12] for _ in range(served)],
        "beside": [{"name": name, **exit_, "by_prompt": by_prompt(1.2)} for name in beside],
    }
    config = {"kind": "dvi", "drafter": folder.name, "layer": 14, "capacity": "translator", "initial": None}
    config |= {"dataset": stream[0][0], "seed": seed, "lossless_against": "base"}
    config |= {"online": ONLINE | {"objective": objective, "seed": seed} | settings}
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def write_runs(out, seeds=3, **more):
    """Two objectives, of which one learns nothing; an exit was measured beside the first run."""
    return [
        write_run(out / f"{objective}{seed}", objective, seed, rise, **more)
        if seed or objective == "none"
        else write_run(out / f"{objective}{seed}", objective, seed, rise, beside=["layer14_T1.0_translator"], **more)
        for objective, rise in (("composite", 0.5), ("none", 0.0))
        for seed in range(seeds)
    ]
