"""Reading a study's config: checked against the schema and against itself, each mistake told in one line."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import yaml

from selfdraft.errors import StudyError
from selfdraft.settings.check import first_problem
from selfdraft.study.contradictions import contradictions
from selfdraft.study.entries import trained_drafters
from selfdraft.study.schema import SCHEMA, read_schema


def load(path: str | Path, schema: str | Path = SCHEMA) -> dict[str, Any]:
    """Read the YAML config at `path`, check it, fill in the schema's defaults.

    Raises StudyError: the file is missing, is not YAML, or `check` finds a mistake.
    """
    try:
        config = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StudyError(f"{path}: file not found") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    check(config, path, schema)
    return config


def check(config: Any, path: str | Path, schema: str | Path = SCHEMA) -> None:
    """Fill the schema's defaults into `config`, in place, and check it against the schema and itself.

    Raises StudyError with one line for the first mistake: `path`, the key, what was found, what
    would be right.
    """
    rules = read_schema(schema)
    _fill_defaults(config, rules, rules)
    if problem := first_problem(config, rules):
        raise StudyError(f"{path}: {problem}")
    _fill_training(config)
    if problem := next(iter(contradictions(config)), None):
        raise StudyError(f"{path}: {problem}")


def layers_text(files: Iterable[str | Path], overrides: dict[str, Any]) -> str:
    """What a mistake is told to be in: the study's file, those that are merged over it, and `--config`."""
    return " + ".join([*map(str, files), *(["--config"] if overrides else [])])


def typed(overrides: dict[str, Any], schema: str | Path = SCHEMA) -> dict[str, Any]:
    """What `snakemake --config` has read as text, as numbers and truth values where the schema asks for them."""
    rules = read_schema(schema)
    return cast(dict[str, Any], _typed(overrides, rules, rules))


def _typed(value: Any, rule: dict[str, Any], root: dict[str, Any]) -> Any:
    if "$ref" in rule:
        rule = root["$defs"][rule["$ref"].removeprefix("#/$defs/")]
    if isinstance(value, dict):
        named, known = rule.get("additionalProperties"), rule.get("properties", {})
        named = named if isinstance(named, dict) else {}
        return {key: _typed(inner, known.get(key, named), root) for key, inner in value.items()}
    if isinstance(value, list):
        return [_typed(inner, rule.get("items", {}), root) for inner in value]
    if isinstance(value, str) and rule.get("type") in ("integer", "number", "boolean"):
        try:
            return yaml.safe_load(value)
        except yaml.YAMLError:
            return value
    return value


def check_layers(config: dict[str, Any], path: str | Path, target: str | Path) -> None:
    """Check exit layers and depths that are fused against the folder `target`, if it is there, of the config's source.

    The target stage checks layers when it makes the folder; this is for those added later. Raises
    StudyError for the first one that the target does not have.
    """
    try:
        made_from = json.loads((Path(target) / "source.json").read_text(encoding="utf-8"))
        layers = json.loads((Path(target) / "config.json").read_text(encoding="utf-8"))["num_hidden_layers"]
    except (OSError, ValueError, KeyError):
        return
    source = config["target"]["source"]
    if any(made_from.get(key) != value for key, value in source.items() if key != "sha256"):
        return
    for name, sweep in config["sweeps"].items():
        for position, layer in enumerate(sweep.get("layer", [])):
            _check_layer(layer, layers, f"{path}: sweeps.{name}.layer.{position}")
    for name, made in trained_drafters(config).items():
        for position, layer in enumerate(made.get("heads", [])):
            _check_layer(layer, layers, f"{path}: drafters.{name}.heads.{position}")
        if "num_heads" in made and made["num_heads"] >= layers:
            where = f"{path}: drafters.{name}.num_heads"
            raise StudyError(f"{where}: {made['num_heads']} heads asked, the target has room for 1…{layers - 1}")
        for position, depth in enumerate(made.get("features", [])):
            if depth > layers:
                where = f"{path}: drafters.{name}.features.{position}"
                raise StudyError(f"{where}: {depth} is not a depth of the target (0…{layers})")
        _check_layer(made.get("exit_layer", 0), layers, f"{path}: drafters.{name}.exit_layer")
    _check_layer(config.get("peers", {}).get("layer", 0), layers, f"{path}: peers.layer")
    for position, layer in enumerate(config.get("compile", {}).get("layers", [])):
        _check_layer(layer, layers, f"{path}: compile.layers.{position}")


def _check_layer(layer: int, layers: int, where: str) -> None:
    if layer >= layers:
        raise StudyError(f"{where}: {layer} is not a layer of the target (0…{layers - 1})")


def _fill_defaults(value: Any, rule: dict[str, Any], root: dict[str, Any]) -> None:
    """Put the defaults of `rule` and below into `value`, for properties and named entries."""
    if "$ref" in rule:
        rule = root["$defs"][rule["$ref"].removeprefix("#/$defs/")]
    if not isinstance(value, dict):
        return
    for key, inner in rule.get("properties", {}).items():
        if key not in value and "default" in inner:
            value[key] = json.loads(json.dumps(inner["default"]))
    named = rule.get("additionalProperties")
    for key, entry in value.items():
        inner = rule.get("properties", {}).get(key, named)
        if isinstance(inner, dict):
            _fill_defaults(entry, inner, root)


def _fill_training(config: dict[str, Any]) -> None:
    """Put training's objective and seed, in place, into the sweeps of trained drafts that name none of their own."""
    for sweep in config["sweeps"].values():
        for key in ("objective", "seed") if "drafter" not in sweep else ():
            sweep.setdefault(key, [config["training"][key]])
