"""Raw acceptance rows add up to what was generated."""

import pytest
import torch
from tiny_llama import perturbed_exit, tiny_llama

from selfdraft.decoding.policy import Policy
from selfdraft.drafters.exit import ExitDrafter
from selfdraft.drafters.lookup import LookupDrafter
from selfdraft.errors import StudyError
from selfdraft.evaluation.acceptance import Prefills, acceptance_rows
from selfdraft.evaluation.answers import greedy_answers, read_answers, write_answers
from selfdraft.evaluation.shards import WHOLE
from selfdraft.sequences import Prompt

GREEDY = Policy("greedy")


def drafter_for(target):
    return ExitDrafter(target, perturbed_exit(target, 1, "head_block"))


def prompts(count=5):
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randint(0, 61, (3 + i,), generator=generator).tolist() for i in range(count)]
    return [Prompt(f"p{i}", f"o{i}", tuple(row), "") for i, row in enumerate(rows)]


def test_every_cycle_of_every_prompt_is_kept_and_greedy_answers_are_identical():
    target = tiny_llama()
    truth = greedy_answers(target, prompts(), 23, 3, frozenset())
    rows = list(acceptance_rows(target, drafter_for(target), prompts(), GREEDY, 4, 23, 2, 0, frozenset(), truth))
    for prompt in prompts():
        own = [row for row in rows if row["prompt"] == prompt.id]
        assert [row["cycle"] for row in own] == list(range(len(own)))
        assert sum(row["new_tokens"] for row in own) == 23
        assert {row["identical"] for row in own} == {1}
        assert own[-1]["cut"] == 1
        for row in own:
            assert 0 <= row["accepted"] <= row["drafted"] <= 4
            assert 0 <= row["overlap_sum"] <= row["drafted"] + 1e-4


def test_an_answer_that_differs_from_vanillas_is_told_of_its_prompt():
    target = tiny_llama()
    truth = greedy_answers(target, prompts(), 23, 3, frozenset())
    truth["p1"][7] += 1
    rows = list(acceptance_rows(target, drafter_for(target), prompts(), GREEDY, 4, 23, 2, 0, frozenset(), truth))
    assert {row["prompt"] for row in rows if row["identical"] == 0} == {"p1"}


def test_kept_answers_belong_to_their_target_length_and_prompts(tmp_path):
    target, path = tiny_llama(), tmp_path / "vanilla.json"
    truth = greedy_answers(target, prompts(), 9, 2, frozenset())
    write_answers(path, target, 9, truth)
    assert read_answers(path, target, 9, prompts()) == truth
    with pytest.raises(StudyError, match=r"vanilla.json: max_new_tokens: 9, this run's is 10; run `selfdraft vanilla`"):
        read_answers(path, target, 10, prompts())
    with pytest.raises(StudyError, match=r"vanilla.json: target: .*fingerprint"):
        read_answers(path, tiny_llama(seed=4), 9, prompts())
    with pytest.raises(StudyError, match="no answer to prompt p5"):
        read_answers(path, target, 9, prompts(6))


@pytest.mark.parametrize("policy", [GREEDY, Policy("t1", 1.0)], ids=["greedy", "sampled"])
def test_a_prefill_shared_by_drafters_leaves_the_rows_as_they_are(policy):
    target = tiny_llama()
    drafters = [ExitDrafter(target, perturbed_exit(target, 1, "head_block")), LookupDrafter(2), drafter_for(target)]
    drafters.append(ExitDrafter(target, perturbed_exit(target, 2, "norm")))
    many = [*prompts(), Prompt("one token", "", (7,), "")]
    prefills = Prefills(target, 9, 4, {depth for drafter in drafters for depth in drafter.depths})
    for drafter in drafters:
        alone, shared = (
            list(acceptance_rows(target, drafter, many, policy, 4, 9, 3, 0, frozenset(), None, WHOLE, made))
            for made in (None, prefills)
        )
        assert alone == shared


def test_sampled_rows_have_no_identity_and_follow_the_seed():
    target = tiny_llama()
    policy = Policy("t1", 1.0)
    runs = [
        list(acceptance_rows(target, drafter_for(target), prompts(), policy, 3, 15, 3, seed, frozenset()))
        for seed in (0, 0, 1)
    ]
    assert runs[0] == runs[1] != runs[2]
    assert {row["identical"] for row in runs[0]} == {None}


def test_the_share_of_accepted_tokens_agrees_with_the_overlap():
    """At the first drafted position the chance of acceptance is the overlap: counts must agree with it."""
    target = tiny_llama()
    policy = Policy("t1", 1.0)
    many = [Prompt(f"p{i}", "", (i % 61, (7 * i) % 61), "") for i in range(600)]
    rows = list(acceptance_rows(target, drafter_for(target), many, policy, 1, 12, 200, 0, frozenset()))
    whole = [row for row in rows if not row["cut"]]
    accepted = sum(row["accepted"] for row in whole) / len(whole)
    overlap = sum(row["overlap_sum"] for row in whole) / len(whole)
    assert 0.05 < overlap < 0.95
    assert accepted == pytest.approx(overlap, abs=4 * (0.25 / len(whole)) ** 0.5)
