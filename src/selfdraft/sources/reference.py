"""transformers' own model and tokenizer of a folder: the baseline, and the judge."""

import sys
from pathlib import Path
from typing import Any

import torch

# What a generation_config.json says of the model and not of how to draw: nothing to tell about.
NO_POLICY = (
    *("bos_token_id", "eos_token_id", "pad_token_id", "transformers_version", "_from_model_config"),
    *("max_length", "max_new_tokens", "decoder_start_token_id", "do_sample"),
)


def quiet_transformers() -> None:
    """Silence transformers' progress bars and warnings; its errors still raise."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def load_transformers(folder: str | Path, dtype: torch.dtype = torch.bfloat16) -> Any:
    """The model of `folder` as transformers' own causal LM class, on the CPU, in evaluation mode."""
    from transformers import AutoConfig, AutoModelForCausalLM

    quiet_transformers()
    config: Any = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    config._attn_implementation = "sdpa"  # the usual one, whatever the machine had that the folder was saved on
    model = AutoModelForCausalLM.from_pretrained(
        str(folder),
        config=config,
        dtype=dtype,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
    )
    return model.eval()


def load_tokenizer(folder: str | Path) -> Any:
    """The tokenizer of `folder` as transformers' AutoTokenizer reads it."""
    from transformers import AutoTokenizer

    quiet_transformers()
    return AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)


def load_baseline(folder: str | Path, dtype: torch.dtype = torch.bfloat16) -> Any:
    """`load_transformers` for decoding under the study's policy and nothing else.

    What generation_config.json asks for beside (a repetition penalty, a temperature, forbidden words, …) would
    change the distribution that both sides are to draw from: it is put aside, and said on standard error.
    """
    from transformers import GenerationConfig

    model = load_transformers(folder, dtype)
    if asked := own_policy(model.generation_config):
        said = ", ".join(f"{key} {value}" for key, value in asked.items())
        print(
            f"{folder}/generation_config.json: asks for {said}: not applied, the policy of the study alone is",
            file=sys.stderr,
        )
    model.generation_config = GenerationConfig()
    return model


def own_policy(generation_config: Any) -> dict[str, Any]:
    """What a generation config asks for that changes which tokens are drawn, by its keys."""
    asked: dict[str, Any] = generation_config.to_diff_dict()
    return {key: value for key, value in asked.items() if key not in NO_POLICY}


def policy_of(settings: dict[str, Any]) -> dict[str, Any]:
    """`own_policy` of what a generation_config.json holds."""
    from transformers import GenerationConfig

    return own_policy(GenerationConfig.from_dict(settings))
