"""Settings as stages take them: sections as JSON, options before their values, patterns of wildcards, sets of text."""

import re
from collections.abc import Iterable
from typing import Any

from selfdraft.provenance.config_hash import Config
from selfdraft.provenance.config_hash import as_json as as_json
from selfdraft.provenance.config_hash import config_hash as config_hash
from selfdraft.provenance.config_hash import recorded as recorded


def peers_draft_model(config: Config) -> list[str]:
    """The option of the peers stage that names the folder of its separate draft model; none if there is none."""
    name = config.get("peers", {}).get("draft_model")
    return ["--draft-model", f"results/target/{name}"] if name else []


def sets(config: Config) -> dict[str, dict[str, Any]]:
    """The data sets of `domains` by name; none without the section."""
    return config.get("domains", {}).get("sets", {})


def sets_with(config: Config, *keys: str, without: str | None = None) -> list[str]:
    """The data sets of `domains` that have the keys: `held_out_tokens` for quality, `prompts` for acceptance."""
    return [name for name, made in sets(config).items() if {*keys} <= {*made} and without not in made]


def set_settings(config: Config) -> dict[str, str]:
    """What the data stage is told of each set of `domains`, as JSON, by name: nothing of it is trained on."""
    return {
        name: as_json({key: value for key, value in made.items() if key != "source"} | {"splits": ["held_out"]})
        for name, made in sets(config).items()
    }


def acceptance_settings(config: Config, text: str) -> str:
    """The acceptance section as JSON for one data set: of those of `domains` all prompts are answered."""
    return settings_of(config, "acceptance", without=["prompts"] if text in sets(config) else [])


def speed_settings(config: Config) -> dict[str, str]:
    """The speed section as JSON for each set of `domains` with prompts: not more of them are timed than it has."""
    section, asked = config["speed"], {name: sets(config)[name]["prompts"] for name in sets_with(config, "prompts")}
    return {name: as_json(section | {"prompts": min(section["prompts"], count)}) for name, count in asked.items()}


def before_each(name: str, values: Iterable[str]) -> list[str]:
    """An option before each of its values."""
    return [word for value in values for word in (name, value)]


def any_of(names: Iterable[str]) -> str:
    """The pattern of a wildcard that is one of the names; of none if there are none."""
    return "|".join(map(re.escape, names)) or "none"


def one_of(endings: Iterable[str]) -> str:
    """The pattern of a wildcard that is one of the endings of a file's name, of which one may be empty."""
    return f"(?:{'|'.join(map(re.escape, endings))})"  # an empty pattern would be none, and match anything


def policy_settings(config: Config) -> dict[str, str]:
    """The settings of each policy as JSON."""
    return {name: as_json(settings) for name, settings in config["policies"].items()}


def settings_of(config: Config, section: str, without: Iterable[str] = ()) -> str:
    """One section of the config as JSON, less the keys that reach the stage as options of their own."""
    return as_json({key: value for key, value in config.get(section, {}).items() if key not in set(without)})


def quantization(config: Config) -> str:
    """The option of `selfdraft target` for a target whose weights are quantised; empty for one as it came."""
    kind = config["target"].get("quantization")
    return f"--quantization {kind}" if kind else ""


def sources_of(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The sources of a checked `data` section: one, or those of a mixture's parts."""
    return [part["source"] for part in data["mixture"].values()] if "mixture" in data else [data["source"]]


def splits_of(data: dict[str, Any]) -> list[str]:
    """The splits of a checked `data` section that have sequences."""
    return [split for split in data["splits"] if f"{split}_tokens" in data]
