"""How much work a config gives each rule, in units of that rule: what the seconds of one study are scaled by."""

from collections.abc import Mapping, Sequence
from typing import Any

from selfdraft.study import entries, online, options, sweeps, teaching
from selfdraft.study.sweeps import Config


def amounts(config: Config, parameters: Mapping[str, float]) -> dict[str, float]:
    """The work of all jobs of a rule together, by the rule's name; `parameters` of each model by its name.

    Tokens times the parameters that each passes, for what runs a model; how many drafts are accepted is not known
    before. Two numbers of one rule have a meaning as their ratio alone. A rule that is missing has work by its jobs.
    """
    target = parameters.get(config["target"]["name"], 1.0)
    data, training = config["data"], config["training"]
    points, drafts = sweeps.points(config), len(sweeps.checkpoints(config))
    layers, heads = (entries.in_use_by(config, rule).values() for rule in ("train_drafter", "train_exits"))
    elsewhere = sweeps.points_for(config, "domains")
    timed_elsewhere = sweeps.points_for(config, "domains", "timed")
    others = options.sets(config).values()
    answered = sum(made.get("prompts", 0) for made in others)
    read = sum(made.get("held_out_tokens", 0) for made in others)
    taught = data.get("train_tokens", 0) * training.get("epochs", 1) + data.get("validation_tokens", 0)
    acceptance, speed = config["acceptance"], config["speed"]
    steps = config.get("steps", {"contexts": [], "rounds": 0})  # not in the configs of older runs
    new = acceptance["max_new_tokens"] * target
    prompts = acceptance.get("prompts", data["prompts"])
    timed = speed["prompts"] * speed["repeats"] * speed["max_new_tokens"] * target
    made = {
        "target": target,
        "draft_model": sum(parameters.get(name, 1.0) for name in teaching.other_models(config)),
        "capture": target * sum(data.get(f"{split}_tokens", 0) for split in teaching.captured_splits(config)),
        "domain_capture": target * read,
        "train": target * drafts * taught,
        "train_drafter": target * sum(_read(config, made) for made in layers),
        "train_exits": target * sum(_read(config, made) for made in heads),
        "train_dvi": target * online.work(config),
        "questions": float(config["answers"]["questions"] if teaching.regenerating(config) else 0),
        "regenerate": target * (config["answers"]["questions"] if teaching.regenerating(config) else 0),
        "calibrate": target * len(heads) * data.get("held_out_tokens", 0),
        "evaluate_heads": target * len(heads) * data.get("held_out_tokens", 0),
        "unverified": timed * sum(11 + _heads(made) for made in heads),  # the target, each head, ten levels at most
        "quality": target * drafts * data.get("held_out_tokens", 0),
        "domain_quality": target * len(sweeps.trained(elsewhere)) * read,
        "vanilla": new * (prompts + answered),
        "acceptance": new * len(points) * prompts,
        "domain_acceptance": new * len(elsewhere) * answered,
        "speed": _timing(timed, points),
        "domain_speed": _timing(timed, timed_elsewhere) * len(options.sets_with(config, "prompts")),
        "steps": target * len(points) * len(steps["contexts"]) * steps["rounds"],
        "results": float(len(points) * config["statistics"]["resamples"] * data["prompts"]),
        **_beside(config, target),
    }
    return {rule: float(amount) for rule, amount in made.items() if amount}


def _timing(one: float, points: Sequence[sweeps.Point]) -> float:
    """Of timing points, `one` for all prompts once: a vanilla run beside two drafts, and two baselines a policy."""
    return one * (1.5 * len(points) + 2 * len(sweeps.by_policy(points)))


def _heads(drafter: Mapping[str, Any]) -> int:
    """How many heads a trained drafter has; 0 of one with a layer of its own."""
    return len(drafter.get("heads", [])) or int(drafter.get("num_heads", 0))


def _read(config: Config, drafter: Mapping[str, Any]) -> float:
    """Tokens that a trained drafter's unrolled steps read, or its heads."""
    training = drafter.get("training", {})
    each = _heads(drafter) or training.get("ttt_length", 4)
    own = drafter.get("answers") == "regenerated"
    text = config["answers"]["questions"] if own else config["data"].get("train_tokens", 0)
    return float(text * training.get("epochs", 1) * each)


def _beside(config: Config, target: float) -> dict[str, float]:
    """Of what stands in tables of its own."""
    made: dict[str, float] = {}
    section: dict[str, Any]
    if section := config.get("batch", {}):
        count = len(sweeps.points_for(config, "batch")) + 1
        made["batch"] = target * count * sum(section["sizes"]) * section["batches"] * section["max_new_tokens"]
    if section := config.get("lengths", {}):
        runs = 1.5 * len(sweeps.points_for(config, "lengths"))  # a vanilla run beside two drafts
        made["lengths"] = target * runs * section["samples"] * sum(section["lengths"])
    if section := config.get("peers", {}):
        steps = section["groups"] * section["prompts"] * section["max_new_tokens"]
        made["peers"] = target * steps * len(section["dtypes"])
    if section := config.get("identity", {}):
        count = (len(sweeps.identity_points(config)) + 1) * len(section["dtypes"])
        made["identity"] = target * count * section["prompts"] * section["max_new_tokens"]
    if section := config.get("compile", {}):
        made["compile"] = target * section["steps"] * (1 + len(section["layers"]))
    return made
