"""The real default assets, where they have been downloaded before; tests never go to the network."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def default_study() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def real_cache(default_study: dict[str, Any]) -> Path:
    """A --cache-dir that holds the default target and data: $SELFDRAFT_ASSETS, else results/cache."""
    cache = Path(os.environ.get("SELFDRAFT_ASSETS", ROOT / "results" / "cache"))
    for part in ("target", "data"):
        source = default_study[part]["source"]
        member = cache / "packages" / f"{source['package']}-{source['version']}" / source["member"]
        if not member.is_file():
            pytest.skip(f"{member} is not there: run the default study once, or set SELFDRAFT_ASSETS")
    return cache


@pytest.fixture(scope="session")
def real_target(real_cache: Path, default_study: dict[str, Any], once: Callable[..., Path]) -> Path:
    """The default target, converted anew from its GGUF."""
    from selfdraft.sources.target import build_target

    def make(folder: Path) -> None:
        build_target("SmolLM2", default_study["target"]["source"], folder, real_cache, layers=[6, 29])

    return once("real-target", make)
