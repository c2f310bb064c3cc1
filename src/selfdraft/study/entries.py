"""The config's `drafters`: which are trained, by which rule, where they lie, what stages are told of them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from selfdraft.drafters import KINDS, kind_of
from selfdraft.provenance import PACKAGE
from selfdraft.provenance.config_hash import Config, as_json
from selfdraft.study.sweeps import Other, Point, checkpoints, points

CHECKOUT = PACKAGE.parents[1]


def draft_models(config: Config) -> dict[str, Any]:
    """The sources of the separate draft models, by the drafter's name."""
    return {name: made["source"] for name, made in config.get("drafters", {}).items() if "source" in made}


def trained_drafters(config: Config) -> dict[str, Any]:
    """The entries of `drafters` that are trained, by name."""
    kinds = [kind for kind in KINDS if kind_of(kind).trained]
    return {name: made for name, made in config.get("drafters", {}).items() if made.get("kind") in kinds}


def from_elsewhere(config: Config) -> dict[str, str]:
    """The folders of the drafters that were trained elsewhere, by name: as they are written, or in the checkout."""
    written = {
        name: Path(made["folder"])
        for name, made in config.get("drafters", {}).items()
        if made.get("kind") == "trained_elsewhere"
    }
    return {name: str(folder if folder.exists() else CHECKOUT / folder) for name, folder in written.items()}


def drafters_in_use(config: Config) -> dict[str, Any]:
    """Those of `trained_drafters` that a sweep measures, alone or in a hybrid, and those that these begin with."""
    used = beginning_with(config, drafting_with(config, points(config)))
    return {name: made for name, made in trained_drafters(config).items() if name in used}


def in_use_by(config: Config, rule: str) -> dict[str, Any]:
    """Those of `drafters_in_use` that a rule trains."""
    return {name: made for name, made in drafters_in_use(config).items() if kind_of(made["kind"]).rule == rule}


def threads_of_each(config: Config, cores: int) -> int:
    """CPU threads that a drafter is trained with: half of the cores, since two of them side by side learn more a second
    than one on all cores; all of them where there are never two, but one alone or one after the other."""
    made = drafters_in_use(config)
    together = set(made) - {entry["initial"] for entry in made.values() if "initial" in entry}
    return cores if len(together) == 1 else max(1, cores // 2)


def several_heads(config: Config) -> bool:
    """Whether a sweep measures a drafter whose tokens leave at several layers."""
    drafters = config.get("drafters", {})
    own = {drafters[point.draft.name]["kind"] for point in points(config) if isinstance(point.draft, Other)}
    return any(kind_of(kind).heads for kind in own)


def _given_in_use(config: Config) -> dict[str, str]:
    used = drafting_with(config, points(config))
    return {name: folder for name, folder in from_elsewhere(config).items() if name in used}


def _own_folders(config: Config) -> list[str]:
    exits = [f"results/checkpoints/{draft.name}" for draft in checkpoints(config)]
    return exits + [f"results/drafters/{name}" for name in drafters_in_use(config)]


def trained_folders(config: Config) -> list[str]:
    """The folders of all that the sweeps measure and that was trained: exits, then other drafters."""
    return [*_own_folders(config), *_given_in_use(config).values()]


def folders_called(config: Config) -> list[str]:
    """The same as `results` takes them: NAME=FOLDER of what was trained elsewhere, under another name."""
    return _own_folders(config) + [f"{name}={folder}" for name, folder in _given_in_use(config).items()]


def drafting_with(config: Config, chosen: Iterable[Point]) -> set[str]:
    """The names of the drafters, other than exits, that some points draft with, and of those that these name."""
    used = {point.draft.name for point in chosen if isinstance(point.draft, Other)}
    made = config.get("drafters", {})
    while more := {made[name]["drafter"] for name in used if "drafter" in made[name]} - used:
        used |= more
    return used


def beginning_with(config: Config, names: Iterable[str]) -> set[str]:
    """These drafters and those whose training theirs goes on from (`initial`), and so on.

    The `initial` of kind dvi names an exit, which is no entry of `drafters`.
    """
    used, made = set(names), config.get("drafters", {})
    while more := {made.get(name, {}).get("initial") for name in used} & set(made) - used:
        used |= more
    return used


def initial_folder(config: Config, name: str) -> str | None:
    """The folder of the drafter whose training that of `name` goes on from; None if it begins with none."""
    initial = config["drafters"][name].get("initial")
    if initial not in config["drafters"]:
        return None
    return from_elsewhere(config).get(initial, f"results/drafters/{initial}")


def drafter_files(config: Config, chosen: Iterable[Point]) -> list[str]:
    """The files of the drafters, other than exits, that some points need: what was trained, and all separate models."""
    used = drafting_with(config, chosen)
    folders = {name: f"results/drafters/{name}" for name in trained_drafters(config) if name in used}
    folders |= {name: folder for name, folder in from_elsewhere(config).items() if name in used}
    folders |= {name: f"results/target/{name}" for name in draft_models(config) if used}
    return [
        f"{folder}/{file}"
        for name, folder in folders.items()
        for file in kind_of(config["drafters"][name]["kind"]).files
    ]


def drafters_by_weights(config: Config) -> dict[str, list[str]]:
    """The names of the trained drafters by what their weights' file is called, draft or aux_heads; without dvi's."""
    rules = {"draft": "train_drafter", "aux_heads": "train_exits"}
    made_by = {name: kind_of(made["kind"]).rule for name, made in trained_drafters(config).items()}
    return {file: [name for name, own in made_by.items() if own == rule] for file, rule in rules.items()}


def drafter_settings(config: Config) -> str:
    """The config's `drafters` as JSON; a model, or what is trained, is known to stages by its folder.

    A hybrid holds what it drafts with, as does what asks heads.
    """
    ours, drafters = trained_drafters(config), config.get("drafters", {})
    given = from_elsewhere(config)

    def known(name: str) -> dict[str, Any]:
        made = drafters[name]
        if name in ours:
            return {"kind": made["kind"], "folder": f"results/drafters/{name}"}
        found = {key: value for key, value in made.items() if key != "source"}
        if "source" in made:
            found["folder"] = f"results/target/{name}"
        if name in given:
            found["folder"] = given[name]
        if "drafter" in made:
            found["drafter"] = known(made["drafter"])
        return found

    return as_json({name: known(name) for name in drafters})
