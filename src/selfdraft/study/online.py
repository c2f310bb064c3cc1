"""Drafters of kind dvi in a study: what their rule is told, what they read, and which mistakes two settings make."""

from collections.abc import Iterable
from typing import Any

from selfdraft.checkpoints import Checkpoint
from selfdraft.provenance.config_hash import Config, config_hash
from selfdraft.study import entries, options, sweeps

KIND = "dvi"


def learners(config: Config) -> dict[str, dict[str, Any]]:
    """The entries of `drafters` that learn while they decode, by name."""
    return {name: made for name, made in config.get("drafters", {}).items() if made.get("kind") == KIND}


def learners_in_use(config: Config) -> list[str]:
    """The names of those that a sweep measures."""
    return list(entries.in_use_by(config, "train_dvi"))


def changing(config: Config) -> list[str]:
    """Those in use whose stream changes to other prompts."""
    return [name for name in learners_in_use(config) if "then" in learners(config)[name]]


def exits_read(config: Config, name: str) -> list[str]:
    """The names of the trained exits that one of `learners` starts from, or is measured beside."""
    made = learners(config).get(name, {})
    return list(dict.fromkeys([*([made["initial"]] if "initial" in made else []), *made.get("beside", [])]))


def files_read(config: Config, name: str) -> list[str]:
    """The files of its `exits_read`, and of the prompts that its stream changes to."""
    then = learners(config).get(name, {}).get("then")
    exits = [
        f"results/checkpoints/{exit_}/{file}"
        for exit_ in exits_read(config, name)
        for file in ("draft.safetensors", "config.json")
    ]
    return exits + ([f"results/data/{then}/prompts.json"] if then else [])


def options_of(config: Config, name: str) -> list[str]:
    """What `selfdraft dvi` is told of an entry, as options."""
    made = {key: value for key, value in learners(config)[name].items() if key != "kind"}
    folders = {"then": "results/data", "initial": "results/checkpoints", "beside": "results/checkpoints"}
    words = []
    for key, value in made.items():
        values = value if isinstance(value, list) else [value]
        words += [f"--{key.replace('_', '-')}", *(f"{folders[key]}/{v}" if key in folders else str(v) for v in values)]
    return words


def hash_of(config: Config, name: str) -> str:
    """The hash of all that decides one of `learners`: what it compares itself with is none of it."""
    made = learners(config)[name]
    alone = config | {"drafters": {name: {key: value for key, value in made.items() if key != "beside"}}}
    more = ["training"] if "initial" in made else []
    if "then" in made:
        alone |= {"domains": {"sets": {made["then"]: options.sets(config)[made["then"]]}}}
        more += ["domains"]
    return config_hash(alone, "target", "data", "drafters", *more)


def work(config: Config) -> float:
    """Tokens that all learners in use serve, and that their evaluations decode; where a stream is all, its prompts'.

    In batches a token is less: a third at twelve prompts at once, as measured on two cores.
    """
    total = 0.0
    for name in learners_in_use(config):
        made = learners(config)[name]
        served = made.get("prompts", 0) or config["data"].get("train_tokens", 0) / 200  # tokens of a conversation
        looks = (
            2 + len(made.get("beside", [])) + (served // made["evaluate_every"] if made.get("evaluate_every") else 0)
        )
        held_out = made.get("held_out_prompts", 0) or config["data"]["prompts"]
        prompts = served * (2 if "then" in made else 1) + looks * held_out
        total += made.get("max_new_tokens", 64) * prompts * (0.25 + 0.75 / made.get("batch", 1))
    return total


def contradictions(where: str, made: dict[str, Any], config: Config, used: bool = True) -> Iterable[str]:
    """An exit that is named twice or not at all, or that no sweep trains; a set that has no prompts.

    What an entry names need not be there as long as no sweep has the entry `used`.
    """
    if ("exit_layer" in made) == ("initial" in made):
        yield f"{where}.exit_layer: a layer, or initial in its place; one of the two is right"
    trained = [draft.name for draft in sweeps.checkpoints(config)]
    for key in ("initial", "beside") if used else ():
        for name in [made[key]] if key == "initial" and key in made else made.get(key, []):
            if name not in trained:
                fit = ", ".join(trained) or "sweeps trains none"
                yield f"{where}.{key}: '{name}' is no exit that a sweep trains: {fit}"
    if "initial" in made and made["initial"] in trained:
        capacity = Checkpoint.named(made["initial"]).capacity
        if made.get("capacity", capacity) != capacity:
            yield f"{where}.capacity: {made['capacity']}, but initial is {made['initial']}; leave it out"
    lora = made.get("share", "head") == "split"
    if "capacity" in made and (made["capacity"] == "lora") != lora:
        yield f"{where}.capacity: {made['capacity']} does not go with share {made.get('share', 'head')}"
    sets = options.sets_with(config, "prompts")
    if used and "then" in made and made["then"] not in sets:
        fit = f"one of {', '.join(sets)} is right" if sets else "domains has none"
        yield f"{where}.then: '{made['then']}' is no set of domains with prompts: {fit}"
