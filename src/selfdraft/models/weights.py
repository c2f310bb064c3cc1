"""Reading tensors: safetensors only, never pickle, with errors that name the file."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from selfdraft.errors import StudyError


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file. Raises StudyError if it is missing, truncated or something else."""
    path = Path(path)
    if path.suffix != ".safetensors":
        raise StudyError(f"{path}: only .safetensors files are read, never pickled ones")
    if not path.is_file():
        raise StudyError(f"{path}: file not found")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise StudyError(f"{path}: not a complete safetensors file ({error})") from None
