"""Records are what was decided, where it stood, and no more; the buffer keeps the last ones in their order."""

import pytest
import torch
from online.learning import all_records, decode, learner_on
from tiny_llama import tiny_llama

from selfdraft.errors import StudyError
from selfdraft.online.buffer import Buffer
from selfdraft.online.records import Records, decided

TARGET = tiny_llama()
PROMPTS = [[3, 1, 4, 1, 5], [9, 2], [6, 5, 3, 5, 8, 9, 7]]
NEVER = {"objective": "none", "buffer": 5000}


@pytest.mark.parametrize("draft", ["argmax", "sample"])
def test_each_record_is_of_a_full_context_and_of_what_was_decided_there(draft):
    learner, drafter = learner_on(TARGET, draft=draft, layer=2, **NEVER)
    result = decode(learner, drafter, PROMPTS, 24)
    records = all_records(learner)
    texts = [prompt + tokens for prompt, tokens in zip(PROMPTS, result.tokens, strict=True)]
    assert 0 < records.reward.mean() < 1
    for text, number in zip(texts, range(3), strict=True):
        tokens = torch.tensor([text])
        with torch.no_grad():
            step = TARGET.step([0], len(text))
            shallow = TARGET.run(TARGET.embed(tokens), 0, 3, step)
            deep = TARGET.run(shallow, 3, 4, step)
            logits = TARGET.logits(deep)[0]
        # (what was decided behind a row's limit while others went on is not in its text)
        mine = records.at((records.sequence == number) & (records.position < len(text) - 1))
        assert len(mine) > 15
        at = mine.position
        torch.testing.assert_close(mine.exit_hidden, shallow[0, at], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(mine.verifier_hidden, deep[0, at], rtol=1e-4, atol=1e-4)
        # greedy verification: accepted is what the text goes on with
        assert torch.equal(mine.reward == 1, mine.draft_token == torch.tensor(text)[at + 1])
        confidence = logits[at].softmax(-1).gather(-1, mine.draft_token.unsqueeze(-1)).squeeze(-1)
        torch.testing.assert_close(mine.verifier_confidence, confidence, rtol=1e-3, atol=1e-5)
    # nothing is decided twice: a token behind a rejection was drafted for a text that is not this one
    assert len({*zip(records.sequence.tolist(), records.position.tolist(), strict=True)}) == len(records)
    assert records.log_policy.isnan().all()


def test_every_decided_token_of_every_cycle_is_there():
    learner, drafter = learner_on(TARGET, layer=2, **NEVER)
    result = decode(learner, drafter, PROMPTS[:1], 40)
    accepted = sum(cycle.accepted for cycle in result.cycles)
    rejected = sum(cycle.accepted < cycle.drafted for cycle in result.cycles)
    records = all_records(learner)
    assert (int(records.reward.sum()), len(records)) == (accepted, accepted + rejected)
    assert learner.since["drafted"] == sum(cycle.drafted for cycle in result.cycles)


def test_nothing_behind_the_end_of_a_text_is_learnt_from():
    assert decided(4, 2, [7, 8, 9, 1], ()) == 3
    assert decided(4, 4, [7, 8, 9, 1], ()) == 4
    assert decided(4, 4, [7, 8, 9, 1], {8}) == 2
    assert decided(4, 0, [7, 8, 9, 1], {8}) == 1
    assert decided(0, 0, [], {8}) == 0
    learner, drafter = learner_on(TARGET, layer=2, **NEVER)
    free = decode(learner, drafter, PROMPTS[:1], 24).tokens[0]
    end = free[10]
    learner, drafter = learner_on(TARGET, layer=2, **NEVER)
    drafter.ends = frozenset({end})
    ended = decode(learner, drafter, PROMPTS[:1], 24, ends=frozenset({end})).tokens[0]
    assert ended == free[: free.index(end) + 1]
    records = all_records(learner)
    assert int(records.position.max()) <= len(PROMPTS[0]) + len(ended) - 2


def numbered(first, count):
    numbers = torch.arange(first, first + count)
    states = numbers.float().unsqueeze(1).expand(-1, 3)
    return Records(states, -states, numbers, *(numbers.float(),) * 3, numbers, numbers, numbers)


def test_a_new_record_takes_the_place_of_the_oldest():
    buffer, seen = Buffer(7, 3, torch.float32, torch.device("cpu")), 0
    generator = torch.Generator().manual_seed(0)
    for count in (3, 2, 4, 1, 9, 0, 6):
        buffer.add(numbered(seen, count))
        seen += count
        held = buffer.read(buffer.newest(len(buffer)))
        assert held.draft_token.tolist() == list(range(max(0, seen - 7), seen))
        assert held.exit_hidden[:, 2].tolist() == held.sequence.tolist() == (-held.verifier_hidden[:, 0]).tolist()
        fresh = buffer.read(buffer.newest(buffer.fresh)).draft_token.tolist()
        assert fresh == list(range(seen - min(count, 7), seen))
        older = buffer.read(buffer.replayed(100, generator)).draft_token.tolist()
        assert sorted(older + fresh) == list(range(max(0, seen - 7), seen))
        buffer.use()
    assert buffer.fresh == 0


def test_what_is_replayed_is_drawn_uniformly_and_never_twice():
    buffer, generator = Buffer(10, 3, torch.float32, torch.device("cpu")), torch.Generator().manual_seed(0)
    buffer.add(numbered(0, 10))
    buffer.use()
    buffer.add(numbered(10, 3))  # in the place of 0, 1, 2
    drawn = torch.stack([buffer.read(buffer.replayed(4, generator)).draft_token for _ in range(2000)])
    assert all(len(set(row)) == 4 for row in drawn.tolist())
    counts = drawn.flatten().bincount(minlength=13)
    assert counts[:3].sum() == counts[10:].sum() == 0
    assert ((counts[3:10] - 8000 / 7).abs() < 100).all()


def test_its_memory_is_what_is_said():
    buffer = Buffer(2048, 576, torch.float32, torch.device("cpu"))
    assert buffer.bytes == 2048 * 4652
    buffer.add(Records(*(torch.zeros(5000, 576),) * 2, *(torch.zeros(5000),) * 7))
    assert (buffer.bytes, len(buffer)) == (2048 * 4652, 2048)
    with pytest.raises(StudyError, match="buffer: 0 is not ≥ 1"):
        Buffer(0, 3, torch.float32, torch.device("cpu"))


def test_a_saved_buffer_is_the_same():
    one, two = (Buffer(5, 3, torch.float32, torch.device("cpu")) for _ in range(2))
    one.add(numbered(0, 4))
    one.use()
    one.add(numbered(4, 3))
    two.take_up({name: tensor.clone() for name, tensor in one.tensors().items()})
    for name, tensor in one.tensors().items():
        torch.testing.assert_close(tensor, two.tensors()[name], rtol=0, atol=0, equal_nan=True)
    assert (two.fresh, len(two)) == (3, 5)
