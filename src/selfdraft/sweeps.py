"""From the config to the list of points to measure: which drafts, draft lengths, policies and figures."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from typing import Any

Config = dict[str, Any]

# Each figure draws one sweep; `figures: {NAME: {sweep: …}}` in the config chooses another one.
FIGURES = {
    "layer_sweep": "layers",
    "acceptance_sweep": "layers",
    "pareto": "layers",
    "gamma": "gamma",
    "temperature": "temperature",
    "capacity": "layers",
    "histograms": "layers",
    "training_curves": "layers",
    "predicted_speedup": "layers",
}


def temperature_text(T: float) -> str:
    """T as file names write it, without an exponent: 1 -> "1.0", 1e-05 -> "0.00001"."""
    return format(Decimal(repr(float(T))), "f")


@dataclass(frozen=True)
class Checkpoint:
    """One trained draft: the exit after layer `layer` (0 = first), trained at KL temperature `T`."""

    layer: int
    T: float
    capacity: str

    @property
    def name(self) -> str:
        """The name of its folder and tables, such as `layer21_T1.0_head_block`."""
        return f"layer{self.layer}_T{temperature_text(self.T)}_{self.capacity}"


@dataclass(frozen=True)
class Point:
    """One measured point: a draft, the tokens drafted per cycle, and the name of a sampling policy."""

    checkpoint: Checkpoint
    gamma: int
    policy: str

    @property
    def name(self) -> str:
        """The name of its acceptance table, such as `layer21_T1.0_head_block_gamma4_greedy`."""
        return f"{self.checkpoint.name}_gamma{self.gamma}_{self.policy}"


def points_of(sweep: dict[str, Any]) -> list[Point]:
    """All combinations of one sweep's lists, in the order in which they are written."""
    grid = product(sweep["layer"], sweep["T"], sweep["capacity"], sweep["gamma"], sweep["policy"])
    return [Point(Checkpoint(layer, float(T), capacity), gamma, policy) for layer, T, capacity, gamma, policy in grid]


def points(config: Config) -> list[Point]:
    """The union of all sweeps without repeats, in the order of the config."""
    return list(dict.fromkeys(point for sweep in config["sweeps"].values() for point in points_of(sweep)))


def checkpoints(config: Config) -> list[Checkpoint]:
    """The drafts that the points need, without repeats, in the order of the config."""
    return list(dict.fromkeys(point.checkpoint for point in points(config)))


def policies(config: Config) -> list[str]:
    """The sampling policies that the points use, without repeats, in the order of the config."""
    return list(dict.fromkeys(point.policy for point in points(config)))


def layers(config: Config) -> list[int]:
    """The exit layers of all sweeps, ascending."""
    return sorted({checkpoint.layer for checkpoint in checkpoints(config)})


def depth(draft: Checkpoint) -> int:
    """The depth (hidden state after that many layers) whose captured states the draft trains on.

    A head reads the state after its exit layer, depth layer + 1; head and block read the state
    before that layer, depth `layer`, and run the layer themselves.
    """
    return draft.layer + (draft.capacity == "head")


def depths(drafts: Iterable[Checkpoint]) -> list[int]:
    """The depths that the drafts train on, ascending, without repeats."""
    return sorted({depth(draft) for draft in drafts})


def depth_by_draft(config: Config) -> dict[str, str]:
    """The depth that each draft trains on, by the draft's name, as text."""
    return {draft.name: str(depth(draft)) for draft in checkpoints(config)}


def drafts_by_policy(config: Config) -> dict[str, list[Checkpoint]]:
    """The drafts whose speed is measured under each policy: one job interleaves them all."""
    return {
        policy: list(dict.fromkeys(point.checkpoint for point in points(config) if point.policy == policy))
        for policy in policies(config)
    }


def points_by_policy(config: Config) -> dict[str, str]:
    """JSON lists of [checkpoint name, gamma], the points of each policy's speed job."""
    return {
        policy: as_json([[p.checkpoint.name, p.gamma] for p in points(config) if p.policy == policy])
        for policy in policies(config)
    }


def policy_settings(config: Config) -> dict[str, str]:
    """The settings of each policy as JSON."""
    return {name: as_json(settings) for name, settings in config["policies"].items()}


def settings_of(config: Config, section: str, without: Iterable[str] = ()) -> str:
    """One section of the config as JSON, less the keys that reach the stage as options of their own."""
    return as_json({key: value for key, value in config[section].items() if key not in set(without)})


def figures(config: Config) -> dict[str, dict[str, Any]]:
    """What each figure draws: name -> {"sweep": its lists, "drafts": its drafts' names, "style": settings}.

    A figure whose usual sweep is not in the config, and that names no other one, is left out.
    """
    chosen = {}
    for name, usual in FIGURES.items():
        style = dict(config["figures"].get(name) or {})
        sweep = style.pop("sweep", usual)
        if sweep in config["sweeps"]:
            grid = config["sweeps"][sweep]
            drafts = list(dict.fromkeys(point.checkpoint.name for point in points_of(grid)))
            chosen[name] = {"sweep": grid, "drafts": drafts, "style": style}
    return chosen


def as_json(value: Any) -> str:
    """The one JSON text of a setting: equal settings give equal text, so nothing reruns in vain."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def config_hash(config: Config, *sections: str) -> str:
    """12 hex digits of the SHA-256 of the canonical JSON of `sections` (all but `figures` if none).

    The looks of the figures are left out: they change no number.
    """
    kept = sections or [section for section in config if section != "figures"]
    return hashlib.sha256(as_json({section: config[section] for section in kept}).encode()).hexdigest()[:12]
