"""Greedy answers of the target alone: decoded once, the truth that every draft's greedy answers are compared with."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from selfdraft.decoding.loop import vanilla
from selfdraft.decoding.policy import Policy
from selfdraft.errors import StudyError
from selfdraft.evaluation.number_format import number_format
from selfdraft.files import read_json, write_json
from selfdraft.models.exit import target_identity
from selfdraft.models.llama import Llama
from selfdraft.sequences import Prompt

Answers = Mapping[str, Sequence[int]]  # new tokens by the prompt's id


def by_length(prompts: Sequence[Prompt], batch: int) -> list[list[Prompt]]:
    """Batches of prompts of similar length: less filler in each."""
    ordered = sorted(prompts, key=lambda prompt: (len(prompt.tokens), prompt.id))
    return [ordered[begin : begin + batch] for begin in range(0, len(ordered), batch)]


def greedy_answers(
    target: Llama, prompts: Sequence[Prompt], max_new_tokens: int, batch: int, eos_ids: frozenset[int]
) -> dict[str, list[int]]:
    """Vanilla decoding of every prompt at temperature 0."""
    found: dict[str, list[int]] = {}
    for group in tqdm(by_length(prompts, batch), unit="batch", desc="vanilla", disable=None):
        tokens = [list(prompt.tokens) for prompt in group]
        answers = vanilla(target, tokens, Policy("greedy"), max_new_tokens, torch.Generator(target.device), eos_ids)
        found |= {prompt.id: answer for prompt, answer in zip(group, answers.tokens, strict=True)}
    return found


def _description(target: Llama, max_new_tokens: int) -> dict[str, Any]:
    dtype = number_format(target)
    return {"target": target_identity(target), "dtype": dtype, "max_new_tokens": max_new_tokens}


def write_answers(path: str | Path, target: Llama, max_new_tokens: int, answers: Answers) -> None:
    """Keep answers with what they depend on."""
    write_json(path, _description(target, max_new_tokens) | {"answers": answers})


def read_answers(path: str | Path, target: Llama, max_new_tokens: int, prompts: Sequence[Prompt]) -> Answers:
    """Answers kept before. Raises StudyError if they are another target's, of another length, or not of all prompts."""
    kept = read_json(path)
    for key, ours in _description(target, max_new_tokens).items():
        found = kept.get(key) if isinstance(kept, dict) else None
        if found != ours:
            raise StudyError(f"{path}: {key}: {found}, this run's is {ours}; run `selfdraft vanilla` again")
    answers: Answers = kept["answers"]
    missing = [prompt.id for prompt in prompts if prompt.id not in answers]
    if missing:
        raise StudyError(f"{path}: no answer to prompt {missing[0]}; run `selfdraft vanilla` again")
    return answers
