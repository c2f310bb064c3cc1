"""What the config.json of everything trained says of its making: commit, config, machine and packages."""

import argparse
from typing import Any


def origin(args: argparse.Namespace, device: str) -> dict[str, Any]:
    """`args` has the options of `add_origin`; `device` is where it was computed."""
    import torch

    from selfdraft.provenance import is_dirty
    from selfdraft.provenance.surroundings import machine, packages

    return {
        "commit": args.commit,
        "config_hash": args.config_hash,
        "torch": torch.__version__,
        "provenance": {**machine(device), "packages": packages(), "dirty": is_dirty(args.commit)},
    }
