"""The prompts that a draft serves while it learns: a conversation's text up to its first answer, in a seeded order."""

from pathlib import Path

import torch

from selfdraft.errors import StudyError
from selfdraft.sequences import Sequences, read_prompts, read_sequences

SHORTEST = 2  # tokens of a prompt: text without a question begins with its first token


def first_prompts(sequences: Sequences) -> list[list[int]]:
    """Each sequence's tokens before its first label; those of at least SHORTEST."""
    found = []
    for begin, end in zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True):
        mask = sequences.mask[begin:end]
        length = int(mask.argmax()) if mask.any() else 0
        if length >= SHORTEST:
            found.append(sequences.tokens[begin : begin + length].tolist())
    return found


def stream(data: str | Path, room: int, seed: int, count: int, option: str) -> list[list[int]]:
    """Prompts of at most `room` tokens, shuffled; the first `count`, or all for 0.

    Of the train split, which shares no conversation with the held-out prompts; of data that nothing is trained on
    (questions alone) their prompts. Raises StudyError, naming the option, if there is none, or fewer than `count`.
    """
    trained = (Path(data) / "train.safetensors").is_file()
    texts = first_prompts(read_sequences(data, "train")) if trained else [list(p.tokens) for p in read_prompts(data)]
    fitting = [text for text in texts if len(text) <= room]
    if not fitting:
        what = f"none of its {len(texts)} prompts has at most {room} tokens" if texts else "no text has a question"
        raise StudyError(f"{option}: {data}: the stream is empty: {what}; conversations or prompts are right")
    if count > len(fitting):
        raise StudyError(f"--prompts: {count} asked, {data} has {len(fitting)} of at most {room} tokens")
    order = torch.randperm(len(fitting), generator=torch.Generator().manual_seed(seed)).tolist()
    return [fitting[place] for place in order[: count or None]]
