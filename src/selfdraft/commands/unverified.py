"""`selfdraft unverified`: speed against agreement where nothing verifies what heads say, and promised risks."""

import argparse

from selfdraft.commands.capture import HELP_DATA, HELP_TARGET
from selfdraft.commands.options import add_dtype, add_origin, add_place
from selfdraft.threads import HELP as HELP_THREADS

DEFAULTS = {"prompts": 16, "max_new_tokens": 24, "repeats": 1, "seed": 0}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the stage."""
    parser.add_argument("--target", required=True, help=HELP_TARGET)
    parser.add_argument("--data", required=True, help=HELP_DATA)
    parser.add_argument("--drafter", required=True, help="folder of kind exits, calibrated (`selfdraft calibrate`)")
    parser.add_argument("--settings", default="{}", help="prompts, max_new_tokens, repeats and seed as JSON")
    parser.add_argument("--statistics", default="{}", help="JSON: resamples, confidence, seed")
    add_dtype(parser, "all ways")
    add_place(parser, HELP_THREADS)
    add_origin(parser)
    parser.add_argument("--out", required=True, help="CSV file to write: a row per head, and per accuracy level")


def run(args: argparse.Namespace) -> None:
    """Decode the prompts in all ways, let the target judge, estimate, write."""
    from pathlib import Path

    import pandas as pd
    import torch

    from selfdraft.calibration.record import MEASURE, RULE
    from selfdraft.commands.modes import calibration_in
    from selfdraft.commands.results import bootstrap_settings
    from selfdraft.commands.settings import json_option, known_keys
    from selfdraft.decoding.policy import Policy
    from selfdraft.errors import StudyError
    from selfdraft.evaluation.number_format import number_format
    from selfdraft.evaluation.unverified import Leaving
    from selfdraft.evaluation.ways import Decoding, Way
    from selfdraft.models.exits import load_exits
    from selfdraft.models.runtime import start
    from selfdraft.sequences import check_room, read_name, some_prompts
    from selfdraft.statistics.bootstrap import Bootstrap
    from selfdraft.statistics.side_tables import cells, with_intervals
    from selfdraft.statistics.tables import note, number_text, write_results
    from selfdraft.statistics.ways import ESTIMATES, estimates
    from selfdraft.threads import free_threads

    bootstrap = Bootstrap(**bootstrap_settings(args.statistics, "--statistics"))
    settings = known_keys(json_option(args.settings, "--settings"), DEFAULTS, "unverified")
    prompts = some_prompts(args.data, settings["prompts"], "unverified")
    threads, why = free_threads(args.threads)
    print(why, flush=True)
    target = start(args.target, args.dtype, args.device, threads)
    check_room(prompts, settings["max_new_tokens"], target.config.max_positions, args.data)
    exits, config = load_exits(args.drafter, target)
    calibration = calibration_in(args.drafter, target)
    if "joint" not in calibration:
        raise StudyError(f"{args.drafter}: the heads were not calibrated together; run `selfdraft calibrate` again")
    levels = calibration["joint"][MEASURE][RULE]
    target.pack()
    exits = [made.pack() for made in exits]
    decoding = Decoding(target, Policy("greedy"), settings["max_new_tokens"])
    limits = sorted({made["threshold"] for made in levels.values() if made["threshold"] is not None})
    ways = [Way("full", "", decoding.full())]
    ways += [Way("fixed_exit", f"{made.layer}", decoding.lossy(Leaving(target, [(made, None)]))) for made in exits]
    ways += [
        Way("lossy_adaptive", f"{limit}", decoding.lossy(Leaving(target, [(made, limit) for made in exits], MEASURE)))
        for limit in limits
    ]
    tokens = [list(prompt.tokens) for prompt in prompts]
    found = decoding.compare(ways, tokens, settings["seed"], settings["repeats"])
    base = pd.DataFrame(found[0])
    about = {"drafter": config["drafter"], "dataset": read_name(args.data)}
    made_by = {}
    for way, sums in zip(ways, found, strict=True):
        name = f"{config['drafter']}/{way.mode}/{way.setting}"
        made = estimates(pd.DataFrame(sums), base, bootstrap, name)
        told = {"prompts": str(len(sums)), "tokens": number_text(float(sum(one.tokens for one in sums)))}
        made_by[way.mode, way.setting] = told | cells(made) | {"interval_note": note(made)}
    rows = [about | {"mode": "full"} | made_by["full", ""]]
    rows += [about | {"mode": "fixed_exit", "layer": f"{e.layer}"} | made_by["fixed_exit", f"{e.layer}"] for e in exits]
    for level, made in levels.items():
        row = about | {"mode": "lossy_adaptive", "accuracy_level": level, "measure": MEASURE, "rule": RULE}
        row["promised_risk"] = number_text(round(1 - float(level), 9))
        if made["threshold"] is None:
            needed = made.get("conversations_needed")
            more = f"it would take {needed} conversations" if needed else "no number of conversations would do"
            rows.append(row | {"interval_note": f"not reached: {more}"})
            continue
        row |= {"threshold": number_text(made["threshold"])}
        row |= {"observed_risk": number_text(made["observed_risk"])} if "observed_risk" in made else {}
        rows.append(row | made_by["lossy_adaptive", f"{made['threshold']}"])
    place = {"dtype": number_format(target), "threads": str(torch.get_num_threads())}
    place |= {"device": target.device.type, "commit": args.commit, "config_hash": args.config_hash}
    columns = ["drafter", "mode", "layer", "accuracy_level", "measure", "rule", "threshold", "dataset"]
    columns += ["promised_risk", "observed_risk", *with_intervals(ESTIMATES), "prompts", "tokens", "interval_note"]
    write_results(Path(args.out), [*columns, *place], [row | place for row in rows])
    reached = [row for row in rows if row.get("threshold")]
    print(f"{args.out}: {len(exits)} heads, {len(reached)} of {len(levels)} levels are promised")
