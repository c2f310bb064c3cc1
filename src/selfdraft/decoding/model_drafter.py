"""The former place of `ModelDrafter`: what others wrote against it goes on working. It lives in drafters/model.py."""

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    """Looked up when it is asked for: the loop does not know the drafters' kinds."""
    if name == "ModelDrafter":
        return import_module("selfdraft.drafters.model").ModelDrafter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
