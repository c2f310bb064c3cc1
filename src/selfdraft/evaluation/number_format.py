"""What the tables call the numbers that a target computes with: their format, and what its weights went through."""

from pathlib import Path

from safetensors import safe_open

from selfdraft.models.llama import Llama


def number_format(target: Llama) -> str:
    """`float32`, or `float32+nf4` of a target whose weights were quantised (`source.json` says how)."""
    name = str(target.dtype).removeprefix("torch.")
    kind = weights_in(target.folder)
    return f"{name}+{kind}" if kind else name


def weights_in(folder: Path | None) -> str:
    """What a target folder's weights were quantised to, as their file says; empty if they were not."""
    if folder is None:
        return ""
    with safe_open(Path(folder) / "model.safetensors", "pt") as file:
        return str((file.metadata() or {}).get("weights", ""))
