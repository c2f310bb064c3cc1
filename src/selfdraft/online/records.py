"""What verifications leave to learn from: a record per decided position, up to and including the first rejection."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from selfdraft.decoding.outcome import Outcome


@dataclass
class Records:
    """Some positions at which a drafted token was decided on, one after the other.

    Attributes:
        exit_hidden: the target's state at the exit's depth that the token was drafted from, `[records, hidden]`.
        verifier_hidden: the target's last state there, before its norm, `[records, hidden]`: norm and head make the
            verifier's whole distribution of it, in 1/85 of the memory that this takes (576 numbers for 49,152).
        draft_token: int64 `[records]`.
        reward: float32, 1 accepted, 0 rejected.
        verifier_confidence: float32, the verifier's softmax at the token, whatever the policy is.
        log_policy: float32, the logarithm of the draft's probability of the token when it was drafted; NaN until the
            first update that sees the record, before which the draft was not changed.
        sequence: int64, the number of the text; position: int64, of the token whose states these are. The drafted
            token stood one further.
        updates: int64, how many updates the draft had had.
    """

    exit_hidden: Tensor
    verifier_hidden: Tensor
    draft_token: Tensor
    reward: Tensor
    verifier_confidence: Tensor
    log_policy: Tensor
    sequence: Tensor
    position: Tensor
    updates: Tensor

    def __len__(self) -> int:
        return len(self.draft_token)

    def tensors(self) -> dict[str, Tensor]:
        """All of it by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def at(self, index: Tensor | slice) -> "Records":
        """Some of the records."""
        return Records(**{name: tensor[index] for name, tensor in self.tensors().items()})


def decided(drafted: int, accepted: int, tokens: Sequence[int], ends: Collection[int]) -> int:
    """How many of a row's drafted tokens were decided on: none behind the first rejection or the text's end."""
    count = min(accepted + 1, drafted)
    end = next((at for at, token in enumerate(tokens[:count]) if token in ends), None)
    return count if end is None else end + 1


def records_of(
    outcome: Outcome,
    tokens: Tensor,
    alive: Sequence[bool],
    sequences: Sequence[int],
    depths: tuple[int, int],
    updates: int,
    ends: Collection[int] = (),
) -> Records:
    """The records of one cycle, row by row and in the order of the draft.

    Args:
        outcome: what came of the draft `tokens [batch, gamma]`.
        alive: the rows that had not ended before the cycle; the others are filler.
        sequences: the number of each row's text.
        depths: of the exit, and of the target's last state.
        updates: how many updates the draft has had.
        ends: tokens that end a text; what was drafted behind one is none of it.
    """
    drafted = tokens.tolist()
    rows: list[int] = []
    places: list[int] = []
    for row, living in enumerate(alive):
        if living:
            count = decided(outcome.drafted[row], outcome.accepted[row], drafted[row], ends)
            rows += [row] * count
            places += range(count)
    device = tokens.device
    of_row, place = torch.tensor(rows, dtype=torch.int64), torch.tensor(places, dtype=torch.int64)
    at = (of_row.to(device), place.to(device))
    token = tokens[at]
    logits = outcome.logits[at].float()
    chosen = logits.gather(-1, token.unsqueeze(-1)).squeeze(-1)
    accepted = torch.tensor(outcome.accepted, dtype=torch.int64)[of_row]
    return Records(
        exit_hidden=outcome.features[depths[0]][at],
        verifier_hidden=outcome.features[depths[1]][at],
        draft_token=token,
        reward=(place < accepted).float().to(device),
        verifier_confidence=(chosen - logits.logsumexp(-1)).exp(),
        log_policy=torch.full(token.shape, torch.nan, device=device),
        sequence=torch.tensor(sequences, dtype=torch.int64)[of_row],
        position=torch.tensor(outcome.starts, dtype=torch.int64)[of_row] + place,
        updates=torch.full(place.shape, updates, dtype=torch.int64),
    )
