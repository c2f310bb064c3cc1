"""The hash of a config: of what changes a number, and of nothing else."""

import hashlib
import json
from typing import Any

Config = dict[str, Any]

UNCOUNTED = ("figures", "traces", "shards", "points_a_job")  # sections that change no number


def as_json(value: Any) -> str:
    """The one JSON text of a setting: equal settings give equal text, so nothing reruns in vain."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def recorded(config: Config) -> Config:
    """The config without the looks of the figures, which change no number."""
    return {section: value for section, value in config.items() if section != "figures"}


def config_hash(config: Config, *sections: str) -> str:
    """12 hex digits of the SHA-256 of the canonical JSON of `sections` (all but `UNCOUNTED` if none).

    The looks of the figures and the parts that work is cut into are left out: they change no number.
    """
    kept = [section for section in sections or config if section in config and section not in UNCOUNTED]
    return hashlib.sha256(as_json({section: config[section] for section in kept}).encode()).hexdigest()[:12]
