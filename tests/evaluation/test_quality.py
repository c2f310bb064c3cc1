"""Quality sums equal the definitions, and an untrained exit at the last layer is its teacher."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_llama import hidden_states, perturbed_exit, tiny_llama

from selfdraft.evaluation.quality import Teacher, quality_rows
from selfdraft.models.exit import untrained_exit
from selfdraft.sequences import Sequences
from selfdraft.training.states import CapturedStates


def sequences():
    rng = np.random.default_rng(0)
    offsets = np.array([0, 9, 20, 26], dtype=np.int64)
    mask = np.zeros(26, dtype=np.uint8)
    mask[[0, 3, 4, 8, 12, 13, 19]] = 1  # 0 is a first token: never predicted; the last sequence has none
    tokens = rng.integers(0, 61, 26).astype(np.int32)
    return Sequences(tokens, mask, offsets, ("a", "b", "c"), ("a", "b", "c"))


def text(target, depth):
    states = hidden_states(target, sequences(), [depth, 4])
    return CapturedStates(sequences(), {depth: states[depth]}, states[4], target)


@pytest.mark.parametrize("capacity", ["head", "head_block"])
def test_the_last_layers_exit_has_no_kl_and_its_teachers_numbers(capacity):
    target = tiny_llama()
    draft = untrained_exit(target, 3, capacity)
    rows = [row for (row,) in quality_rows(target, [draft], text(target, draft.depth), [2.0])]
    assert [(row["conversation"], row["tokens"]) for row in rows] == [("a", 3), ("b", 3)]
    for row in rows:
        assert row["kl_sum"] == pytest.approx(0, abs=1e-6)
        assert row["kl_at_1_sum"] == pytest.approx(0, abs=1e-6)
        assert row["agreement_sum"] == row["tokens"]
        assert row["ce_sum"] == pytest.approx(row["teacher_ce_sum"], abs=1e-5)
        assert row["top1_sum"] == row["teacher_top1_sum"]


@pytest.mark.parametrize("capacity", ["head", "head_block"])
def test_rows_equal_a_whole_forward_pass(capacity):
    target = tiny_llama()
    draft = untrained_exit(target, 1, capacity)
    rows = [row for (row,) in quality_rows(target, [draft], text(target, draft.depth), [2.0], chunk=2)]
    s = sequences()
    with torch.no_grad():
        tokens = torch.from_numpy(s.tokens[9:20].astype(np.int64))[None]
        teacher = target(tokens)[0]
        step = target.step([0], 11)
        logits = target.logits(target.run(target.embed(tokens), 0, 2, step))[0]
    at = torch.tensor([2, 3, 9])  # tokens 12, 13 and 19 of the text are labels
    p, q = F.softmax(teacher[at] / 2, -1), F.softmax(logits[at] / 2, -1)
    assert rows[1]["kl_sum"] == pytest.approx((p * (p / q).log()).sum().item(), rel=1e-4)
    ce = F.cross_entropy(logits[at], tokens[0, at + 1], reduction="sum").item()
    assert rows[1]["ce_sum"] == pytest.approx(ce, rel=1e-4)


def test_top_k_and_agreement_count_as_defined():
    draft = torch.tensor([[0.0, 9, 8, 7, 6, 5, 4], [9, 0, 1, 2, 3, 4, 5.0]])
    teacher = torch.tensor([[0.0, 0, 3, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0.0]])
    found = Teacher(teacher, torch.tensor([1, 2])).with_draft(draft, 1.0)
    assert (found["top1_sum"], found["top5_sum"], found["agreement_sum"]) == (1, 1, 1)
    assert Teacher(teacher, torch.tensor([5, 3])).with_draft(draft, 1.0)["top5_sum"] == 2


def test_a_drafts_rows_are_the_same_beside_others():
    target = tiny_llama()
    drafts = [
        perturbed_exit(target, layer, capacity) for layer, capacity in ((1, "head"), (1, "norm"), (2, "head_block"))
    ]
    temperatures = [1.0, 2.0, 1.0]
    states = hidden_states(target, sequences(), [1, 2, 3, 4])
    texts = CapturedStates(sequences(), {depth: states[depth] for depth in (1, 2, 3)}, states[4], target)
    together = list(quality_rows(target, drafts, texts, temperatures))
    alone = [list(quality_rows(target, [draft], texts, [T])) for draft, T in zip(drafts, temperatures, strict=True)]
    assert [[row[which] for row in together] for which in range(3)] == [[row for (row,) in rows] for rows in alone]
    assert len({row["kl_sum"] for row in together[0]}) == 3
