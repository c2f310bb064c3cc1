"""The stock transformers model of a plain target folder: the baseline, and the judge in tests."""

from pathlib import Path
from typing import Any

import torch


def quiet_transformers() -> None:
    """Silence transformers' progress bars and warnings; its errors still raise."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def load_transformers(folder: str | Path, dtype: torch.dtype = torch.bfloat16) -> Any:
    """The model of `folder` as transformers' own causal LM class, on the CPU, in evaluation mode."""
    from transformers import AutoModelForCausalLM

    quiet_transformers()
    model = AutoModelForCausalLM.from_pretrained(
        str(folder), dtype=dtype, local_files_only=True, trust_remote_code=False, use_safetensors=True
    )
    return model.eval()
