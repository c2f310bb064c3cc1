"""A draft model of the same tokens with other padding rows behind them drafts; one of other tokens is refused."""

import json

import pytest
import torch
from tiny import tiny_target
from tiny_llama import tiny_llama

from selfdraft.decoding.loop import speculate, vanilla
from selfdraft.decoding.policy import Policy
from selfdraft.drafters.model import ModelDrafter
from selfdraft.errors import StudyError
from selfdraft.models.vocabulary import check_same_tokens

PROMPTS = [[1, 60, 3], [5, 59], [60]]  # with tokens that a draft model of 50 rows has not


def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("kept", [None, torch.arange(0, 61, 2)], ids=["all", "trimmed"])
@pytest.mark.parametrize("rows", [50, 61, 70])
def test_the_targets_answers_whatever_rows_the_draft_model_has(rows, kept):
    target, model = tiny_llama(), tiny_llama(vocab=rows, layers=2, seed=1)
    with torch.no_grad():
        model.head.weight[60:] *= 9  # likely, and no tokens
    drafter = ModelDrafter(target, model, kept_ids=kept)
    alone = vanilla(target, PROMPTS, Policy("greedy"), 30, generator()).tokens
    assert speculate(target, drafter, PROMPTS, Policy("greedy"), 4, 30, generator()).tokens == alone
    warm = speculate(target, drafter, PROMPTS, Policy("warm", 1.0), 4, 30, generator())
    assert all(0 <= token < 61 for row in warm.tokens for token in row)
    assert sum(cycle.accepted for cycle in warm.cycles) > 0


def test_a_draft_model_that_is_the_target_with_more_rows_is_always_right():
    target, model = tiny_llama(), tiny_llama(vocab=70)
    with torch.no_grad():
        for own, its in zip(target.parameters(), model.parameters(), strict=True):
            its[: own.shape[0]] = own
    result = speculate(target, ModelDrafter(target, model), PROMPTS[:1], Policy("warm", 1.0), 4, 41, generator())
    assert all(cycle.accepted == 4 for cycle in result.cycles if not cycle.cut)


def test_the_same_tokens_are_asked_for_and_padding_is_not(tmp_path):
    target = tiny_target(tmp_path / "target")
    check_same_tokens(target, tiny_target(tmp_path / "padded", vocab_size=640), "drafters.small")
    other = tiny_target(tmp_path / "other")
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    swapped = {300: 301, 301: 300}
    vocab = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {text: swapped.get(number, number) for text, number in vocab.items()}
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(
        StudyError, match=r"drafters\.small: .*other has another vocabulary .* is token 30. of the target"
    ):
        check_same_tokens(target, other, "drafters.small")
