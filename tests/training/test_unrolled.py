"""What a drafter computes in training is what it computes in serving: features, positions, shift, and who sees whom."""

import json
from pathlib import Path

import pytest
import torch
from tiny_llama import moved_eagle3, tiny_llama

from selfdraft.decoding.outcome import Outcome
from selfdraft.decoding.session import Session
from selfdraft.drafters.eagle3 import Eagle3Drafter
from selfdraft.training.unrolled import rows_of, unrolled

FEATURES = (1, 2, 4)
STEPS = 4


@pytest.fixture(scope="module")
def target():
    return tiny_llama()


def texts(target, *lengths):
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(target.config.vocab_size, (length,), generator=generator).tolist() for length in lengths]


@torch.no_grad()
def states(target, text):
    """The target's states of a text at the depths that are fused, `[tokens, depths * hidden]`."""
    step, hidden, at, found = target.step([0], len(text)), target.embed(torch.tensor([text])), 0, []
    for depth in FEATURES:
        hidden, at = target.run(hidden, at, depth, step), depth
        found.append(hidden[0])
    return torch.cat(found, dim=-1)


@torch.no_grad()
def trained(target, draft, rows, steps=STEPS):
    """Training's logits of each step, `[total, kept]`."""
    features = torch.cat([states(target, text) for text in rows])
    tokens = torch.tensor([token for text in rows for token in text])
    outputs = unrolled(target, draft, tokens, features, [len(text) for text in rows], steps)
    ends = torch.tensor([len(text) for text in rows]).cumsum(0).repeat_interleave(torch.tensor([*map(len, rows)])) - 1
    places = torch.arange(len(tokens)) + 1
    return [draft.logits(out, tokens[torch.minimum(places + step, ends)]) for step, out in enumerate(outputs)]


class Forced:
    """A policy that draws given tokens, and notes the logits from which it should have drawn."""

    def __init__(self, columns):
        self.columns, self.seen = [torch.tensor(column).unsqueeze(1) for column in columns], []

    def draw(self, logits, generator):
        self.seen.append(logits)
        return self.columns[len(self.seen) - 1], None


@pytest.mark.parametrize(("fc_norm", "bias_rank"), [(False, 0), (True, 0), (True, 5)])
@pytest.mark.parametrize("norm_output", [False, True])
@torch.inference_mode()
def test_serving_computes_what_training_does(target, fc_norm, norm_output, bias_rank):
    """Two rows of other lengths, drafts of which nothing, some or all is accepted: step by step the same logits."""
    vocabulary = torch.arange(target.config.vocab_size)
    draft = moved_eagle3(target, FEATURES, vocabulary, fc_norm, norm_output, bias_rank=bias_rank)
    whole = texts(target, 40, 37)
    offsets = [0, 40]
    expected = trained(target, draft, whole)
    drafter = Eagle3Drafter(target, draft)
    session = Session(target, [text[:length] for text, length in zip(whole, (9, 6), strict=True)], 40, FEATURES)
    drafter.start(session)
    for accepted in ((0, 2), (3, 1), (STEPS, 0), (STEPS, STEPS), (0, 3)):
        lengths = list(session.lengths)
        right = [text[length + 1 : length + 1 + STEPS] for text, length in zip(whole, lengths, strict=True)]
        # what is to be rejected is not the text's token, so that what it leaves behind would be seen
        drafted = [
            [token if place < count else (token + 1) % 61 for place, token in enumerate(tokens)]
            for tokens, count in zip(right, accepted, strict=True)
        ]
        policy = Forced(list(zip(*drafted, strict=True)))
        draft_made = drafter.draft(session, STEPS, policy, torch.Generator())
        for row, (length, count) in enumerate(zip(lengths, accepted, strict=True)):
            for step in range(min(count + 1, STEPS)):
                found, wanted = policy.seen[step][row], expected[step][offsets[row] + length - 1]
                torch.testing.assert_close(found, wanted, atol=5e-4, rtol=5e-4)
        logits = session.verify(draft_made.tokens)
        new = [text[n + 1 : n + 2 + k] for text, n, k in zip(whole, lengths, accepted, strict=True)]
        outcome = Outcome(lengths, [STEPS, STEPS], list(accepted), new, session.features(), logits, 0.0, 0.0)
        session.commit(torch.tensor(accepted), torch.tensor([[tokens[-1]] for tokens in new]), new)
        drafter.observe(outcome)


def test_the_numbers_are_those_of_the_file(target):
    """What both sides computed when drafters were first trained: a change of both together is seen too."""
    golden = json.loads((Path(__file__).parent / "golden_eagle3.json").read_text())
    draft = moved_eagle3(target, FEATURES, torch.arange(0, 61, 2), True, True)
    (text,) = texts(target, 12)
    assert text == golden["text"]
    for step, found in enumerate(trained(target, draft, [text])):
        torch.testing.assert_close(found[[2, 7], :8], torch.tensor(golden["logits"][step]), atol=2e-4, rtol=2e-4)


def test_who_sees_whom(target):
    """A row sees the features up to its own, the tokens that follow them, and nothing of other rows' guesses."""
    draft = moved_eagle3(target, FEATURES, torch.arange(61), False, False)
    (text,) = texts(target, 12)
    tokens, features = torch.tensor(text), states(target, text).requires_grad_(True)
    embedding = target.embedding
    embedding.requires_grad_(True)
    try:
        outputs = unrolled(target, draft, tokens, features, [12], 3)
        for step, output in enumerate(outputs):
            row = 5
            of_features, of_tokens = torch.autograd.grad(output[row].sum(), (features, embedding), retain_graph=True)
            assert (of_features.abs().sum(-1) > 0).tolist() == [at <= row for at in range(12)]
            used = {token for token in range(61) if of_tokens[token].abs().sum() > 0}
            assert used == {*text[1 : row + 2 + step]}
    finally:
        embedding.requires_grad_(False)


def test_rows_that_are_not_wanted_change_nothing(target):
    """A row ends where no later output of it is wanted; a sequence may have none at all."""
    draft = moved_eagle3(target, FEATURES, torch.arange(61), True, True)
    rows = texts(target, 11, 6, 17)
    tokens, lengths = torch.tensor([token for text in rows for token in text]), [*map(len, rows)]
    features = torch.cat([states(target, text) for text in rows])
    predicting = [torch.tensor([3, 4, 7, 20, 25]), torch.tensor([3, 7, 20, 24]), torch.tensor([], dtype=torch.int64)]
    wanted = rows_of(predicting)
    assert [some.tolist() for some in wanted] == [[3, 4, 7, 20, 24, 25], [3, 7, 20, 24], []]
    with torch.no_grad():
        whole = unrolled(target, draft, tokens, features, lengths, 3)
        found = unrolled(target, draft, tokens, features, lengths, 3, wanted)
    for one, other, some in zip(whole, found, wanted, strict=True):
        torch.testing.assert_close(one[some], other, atol=1e-5, rtol=1e-5)


def test_sequences_do_not_see_each_other(target):
    draft = moved_eagle3(target, FEATURES, torch.arange(61), True, True)
    one, two = texts(target, 11, 17)
    together, first, second = (
        trained(target, draft, [one, two]),
        trained(target, draft, [one]),
        trained(target, draft, [two]),
    )
    for step in range(STEPS):
        torch.testing.assert_close(together[step], torch.cat((first[step], second[step])), atol=1e-4, rtol=1e-4)


def test_positions_move_with_the_step(target):
    """Step j of a row stands j positions behind it: another text before it, of equal states, changes nothing else."""
    draft = moved_eagle3(target, FEATURES, torch.arange(61), False, False)
    (text,) = texts(target, 14)
    features, tokens = states(target, text), torch.tensor(text)
    whole = unrolled(target, draft, tokens, features, [14], 3)
    # All rows but the first see themselves and the rows before by distance alone: a shift of all positions is none.
    shifted = tiny_llama()
    shifted.cos, shifted.sin = shifted.cos.roll(-7, 0), shifted.sin.roll(-7, 0)
    for one, other in zip(whole, unrolled(shifted, draft, tokens, features, [14], 3), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    # Were the later steps left at the row's own position, the last output would be another one.
    still = tiny_llama()
    still.cos, still.sin = still.cos[:1].expand_as(still.cos), still.sin[:1].expand_as(still.sin)
    assert not torch.allclose(whole[2], unrolled(still, draft, tokens, features, [14], 3)[2], atol=1e-3)
