"""What several heads say of held-out answers, a token each: how sure they are, and whether the target agrees."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from selfdraft.calibration.exits import Said
from selfdraft.calibration.measures import MEASURES
from selfdraft.decoding.sureness import sureness
from selfdraft.errors import StudyError
from selfdraft.models.exit import Exit
from selfdraft.models.exits import load_exits
from selfdraft.models.llama import Llama
from selfdraft.sequences import Sequences
from selfdraft.training.batches import make_batch
from selfdraft.training.states import ComputedStates, States

Arrays = dict[str, npt.NDArray[np.float64]]


class Spoken(NamedTuple):
    """One conversation's answer tokens: of each head, by its layer, arrays `[tokens]`.

    The measures of sureness; `agrees`: is its best token the target's; `correct`: is it the label; `overlap`:
    Σ min(p, q) with the target at temperature 1; `target_correct`: is the target's own best token the label.
    """

    origin: str
    heads: dict[int, Arrays]


@torch.inference_mode()
def spoken(
    target: Llama, exits: Sequence[Exit], states: States, chosen: Sequence[int], chunk: int = 128
) -> Iterator[Spoken]:
    """Of the sequences numbered `chosen`, as far as they have answer tokens.

    Sequences of one origin are one conversation to whoever counts them.
    """
    text = states.sequences
    for number in chosen:
        begin, end = int(text.offsets[number]), int(text.offsets[number + 1])
        if not text.mask[begin + 1 : end].any():
            continue
        batch = make_batch(text, [number])
        loaded = states.load(batch, {made.depth for made in exits})
        step, positions = target.step([0], end - begin), batch.positions.to(target.device)
        hidden = [made(loaded.inputs[made.depth], step)[0][positions] for made in exits]
        final, labels = target.norm(loaded.final), batch.labels.to(target.device)
        parts: dict[int, list[dict[str, Tensor]]] = {made.layer: [] for made in exits}
        for at in range(0, len(labels), chunk):
            part = slice(at, at + chunk)
            of_target = target.head(final[part]).float()
            p, best = torch.softmax(of_target, dim=-1), of_target.argmax(-1)
            for made, state in zip(exits, hidden, strict=True):
                logits = made.head(state[part]).float()
                said = logits.argmax(-1)
                found = {measure: sureness(logits, measure) for measure in MEASURES}
                found |= {"agrees": said == best, "correct": said == labels[part]}
                found["overlap"] = torch.minimum(p, torch.softmax(logits, dim=-1)).sum(-1)
                found["target_correct"] = best == labels[part]
                parts[made.layer].append(found)
        heads = {
            layer: {name: torch.cat([some[name] for some in found]).double().cpu().numpy() for name in found[0]}
            for layer, found in parts.items()
        }
        yield Spoken(text.origins[number], heads)


def heads_on_text(
    folder: str, target: Llama, sequences: Sequences, conversations: int | None
) -> tuple[list[Spoken], dict[str, Any], list[Exit]]:
    """What the heads of a folder say of the first `conversations` of a text (None: of all); its config, and the heads.

    Packs the target and the heads, shallow ones first. Raises StudyError as `load_exits`, or if there are not so many.
    """
    exits, config = load_exits(folder, target)
    origins = list(dict.fromkeys(sequences.origins))
    count = len(origins) if conversations is None else conversations
    if not 1 <= count <= len(origins):
        raise StudyError(f"--num-samples: {count} conversations asked, the held-out text has {len(origins)}")
    wanted = set(origins[:count])
    chosen = [number for number, origin in enumerate(sequences.origins) if origin in wanted]
    target.pack()
    states = ComputedStates(sequences, target, target)
    exits = [made.pack() for made in exits]
    found = list(spoken(target, exits, states, chosen))
    if not found:
        raise StudyError("data: no held-out answer token to look at; every token is masked")
    return found, config, exits


def said_of(found: Sequence[Spoken], layer: int) -> tuple[Said, list[str]]:
    """What one head said of all of them, and the conversations' names in the order of their numbers."""
    names = list(dict.fromkeys(one.origin for one in found))
    number = {name: place for place, name in enumerate(names)}
    tokens = [one.heads[layer] for one in found]
    conversation = np.concatenate(
        [np.full(len(one.heads[layer]["agrees"]), number[one.origin], dtype=np.int64) for one in found]
    )
    values = {measure: np.concatenate([some[measure] for some in tokens]) for measure in MEASURES}
    agrees = np.concatenate([some["agrees"] for some in tokens]) > 0
    return Said(conversation, agrees, values, len(names)), names


BINS = 15  # of the top probability, for the expected calibration error


def sums_of(found: Sequence[Spoken], layer: int) -> tuple[list[str], Arrays]:
    """One head's sums over each conversation's tokens, and the conversations' names.

    `tokens`, then sums of what `Spoken` has; and of the top probability's bins, `[conversations, BINS]`: `bin_tokens`
    how many fall in, `bin_sure` its sum, `bin_agrees` and `bin_correct` the tokens that the target, or the label,
    agrees with.
    """
    said, names = said_of(found, layer)
    tokens = {name: np.concatenate([one.heads[layer][name] for one in found]) for name in found[0].heads[layer]}
    count, where = len(names), said.conversation
    sums: Arrays = {}
    for name, column in {**tokens, "tokens": np.ones(len(where))}.items():
        sums[name] = np.asarray(np.bincount(where, weights=column, minlength=count), dtype=np.float64)
    place = np.minimum((tokens["top_probability"] * BINS).astype(int), BINS - 1)
    for name, of in (("sure", "top_probability"), ("agrees", "agrees"), ("correct", "correct")):
        flat = np.bincount(where * BINS + place, weights=tokens[of], minlength=count * BINS)
        sums[f"bin_{name}"] = np.asarray(flat, dtype=np.float64).reshape(count, BINS)
    flat = np.bincount(where * BINS + place, minlength=count * BINS)
    sums["bin_tokens"] = np.asarray(flat, dtype=np.float64).reshape(count, BINS)
    return names, sums
