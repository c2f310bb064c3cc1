"""Answering a batch of prompts, and keeping the states that the tokens had on the way."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from selfdraft.decoding.policy import NAN_LOGITS, Policy, nan_rows
from selfdraft.decoding.session import Session
from selfdraft.errors import StudyError
from selfdraft.models.llama import Llama

KEPT = torch.bfloat16  # the states' number format: half the disk of float32


@torch.inference_mode()
def answers_of(
    target: Llama,
    prompts: list[list[int]],
    depths: Collection[int],
    policy: Policy,
    limits: Sequence[int],
    generator: torch.Generator,
    eos_ids: frozenset[int],
) -> tuple[list[list[int]], list[dict[int, Tensor]]]:
    """One answer to each prompt, of at most so many tokens as `limits` says, its end-of-turn token included.

    The states, by depth `[tokens, hidden]` on the CPU, are of all tokens, those of the prompt too: what one pass over
    the finished text would give.
    """
    session = Session(target, prompts, max(limits), tuple(depths))
    nothing = torch.empty((len(prompts), 0), dtype=torch.int64, device=target.device)
    zeros = torch.zeros(len(prompts), dtype=torch.int64, device=target.device)
    new: dict[int, list[Tensor]] = {depth: [] for depth in session.depths}
    answers: list[list[int]] = [[] for _ in prompts]
    alive = [True] * len(prompts)
    while True:
        logits = session.verify(nothing)[:, -1]
        for depth, states in session.features().items():
            new[depth].append(states[:, -1].to(KEPT).cpu())
        if not any(alive):  # that was for the states of the last tokens
            break
        token, _ = policy.draw(logits, generator)
        if nan_rows(logits).any():
            raise StudyError(NAN_LOGITS)
        values = [value if live else [] for value, live in zip(token.tolist(), alive, strict=True)]
        session.commit(zeros, token, values)
        for row, value in enumerate(values):
            answers[row] += value
            alive[row] = bool(value) and value[0] not in eos_ids and len(answers[row]) < limits[row]
    read = {depth: states.to(KEPT).cpu() for depth, states in session.prompt_features.items()}
    stacked = {depth: torch.stack(states, dim=1) for depth, states in new.items()}
    kept: list[dict[int, Tensor]] = []
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        kept.append(
            {
                depth: torch.cat(
                    (
                        *([read[depth][row, : len(prompt) - 1]] if depth in read else []),
                        states[row, : len(answer) + 1],
                    )
                )
                for depth, states in stacked.items()
            }
        )
    return answers, kept
