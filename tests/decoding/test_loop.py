"""The speculative loop returns what vanilla decoding returns, and counts what happened."""

import gc
import warnings

import pytest
import torch
from tiny_llama import perturbed_exit, tiny_llama

from selfdraft.capacities import CAPACITIES
from selfdraft.decoding.loop import cycles, speculate, vanilla
from selfdraft.decoding.policy import Policy
from selfdraft.decoding.prefill import Prefill
from selfdraft.drafters.exit import ExitDrafter
from selfdraft.drafters.lookup import LookupDrafter
from selfdraft.errors import StudyError
from selfdraft.models.exit import untrained_exit

GREEDY = Policy("greedy")


def prompts(count, vocab=61, seed=5):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 12, (count,), generator=generator).tolist()
    return [torch.randint(0, vocab, (n,), generator=generator).tolist() for n in lengths]


@pytest.fixture(scope="module")
def alone():
    """Vanilla answers to five prompts, one at a time; in a batch they are the same."""
    target, generator = tiny_llama(), torch.Generator().manual_seed(0)
    found = [vanilla(target, [prompt], GREEDY, 30, generator).tokens[0] for prompt in prompts(5)]
    assert vanilla(target, prompts(5), GREEDY, 30, generator).tokens == found
    return found


@pytest.mark.parametrize("capacity", CAPACITIES)
@pytest.mark.parametrize("layer", [0, 2, 3])
@pytest.mark.parametrize("gamma", [1, 3, 8])
def test_greedy_output_is_vanillas_alone_and_in_a_batch(capacity, layer, gamma, alone):
    target = tiny_llama()
    drafter = ExitDrafter(target, perturbed_exit(target, layer, capacity))
    asked = prompts(5)
    generator = torch.Generator().manual_seed(0)
    batch = speculate(target, drafter, asked, GREEDY, gamma, 30, generator)
    assert batch.tokens == alone
    for prompt, expected in zip(asked, alone, strict=True):
        one = speculate(target, drafter, [prompt], GREEDY, gamma, 30, generator)
        assert one.tokens == [expected]
        assert sum(len(cycle.tokens) for cycle in one.cycles) == 30
        assert all(len(c.tokens) == c.accepted + 1 for c in one.cycles if not c.cut)


@pytest.mark.parametrize("capacity", CAPACITIES)
@pytest.mark.parametrize("policy", [GREEDY, Policy("warm", 0.8, top_p=0.9, top_k=20)], ids=["greedy", "warm"])
def test_an_untrained_exit_at_the_last_layer_is_the_target_itself(capacity, policy):
    target = tiny_llama()
    drafter = ExitDrafter(target, untrained_exit(target, 3, capacity, torch.float32))
    generator = torch.Generator().manual_seed(0)
    result = speculate(target, drafter, prompts(4), policy, 4, 41, generator, trace=True)
    whole = [cycle for cycle in result.cycles if not cycle.cut]
    assert len(whole) > 20
    assert all(cycle.accepted == 4 for cycle in whole)
    assert all(cycle.overlap_sum == pytest.approx(4, abs=1e-4) for cycle in whole)


def test_prompts_of_a_large_batch_are_read_in_parts_and_each_as_alone(monkeypatch):
    """Rows of all lengths, one token too, in any order: keys and values, states and answers are those of each alone."""
    target = tiny_llama()
    numbers = torch.Generator().manual_seed(0)
    lengths = [1, 9, 3, 17, 1, 1, 25, 2, 2, 1, 1, 1, 1, 1, 1, 1, 30, 4, 11]
    prompts = [torch.randint(60, (length,), generator=numbers).tolist() for length in lengths]
    monkeypatch.setattr("selfdraft.decoding.prefill.TOKENS", 90)  # three rows of the longest one
    together = Prefill(target, prompts, 10, {1, 3})
    for row, prompt in enumerate(prompts):
        alone, known = Prefill(target, [prompt], 10, {1, 3}), len(prompt) - 1
        for ours, theirs in zip(together.cache.layers, alone.cache.layers, strict=True):
            torch.testing.assert_close(ours[row, :, :known], theirs[0, :, :known], atol=1e-4, rtol=1e-4)
        for depth in (1, 3):
            if known:
                ours, theirs = together.hidden[depth][row, :known], alone.hidden[depth][0]
                torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    answers = vanilla(target, prompts, Policy("greedy"), 10, torch.Generator(), prefill=together).tokens
    assert answers == [vanilla(target, [one], Policy("greedy"), 10, torch.Generator()).tokens[0] for one in prompts]


def test_the_end_of_sequence_token_ends_a_row_and_marks_its_cycle():
    target = tiny_llama()
    drafter = ExitDrafter(target, perturbed_exit(target, 2, "head"))
    generator = torch.Generator().manual_seed(0)
    asked = prompts(3)
    full = vanilla(target, asked, GREEDY, 30, generator).tokens
    eos = frozenset({full[0][7], full[1][11]})
    expected = [row[: next((i for i, t in enumerate(row) if t in eos), 29) + 1] for row in full]
    assert vanilla(target, asked, GREEDY, 30, generator, eos).tokens == expected
    result = speculate(target, drafter, asked, GREEDY, 4, 30, generator, eos)
    assert result.tokens == expected
    for row in (0, 1):
        assert [cycle for cycle in result.cycles if cycle.row == row][-1].cut


def test_new_tokens_follow_their_limit_exactly():
    target = tiny_llama()
    drafter = ExitDrafter(target, untrained_exit(target, 3, "head"))
    generator = torch.Generator().manual_seed(0)
    for limit in (1, 2, 5, 6):
        result = speculate(target, drafter, [[4, 5]], GREEDY, 4, limit, generator)
        assert [len(row) for row in result.tokens] == [limit]


def test_the_same_seed_gives_the_same_sample():
    target = tiny_llama()
    drafter = ExitDrafter(target, perturbed_exit(target, 1, "head_block"))
    policy = Policy("hot", 1.2)
    runs = [
        speculate(target, drafter, prompts(3), policy, 3, 20, torch.Generator().manual_seed(seed)).tokens
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize(
    ("asked", "gamma", "limit", "message"),
    [
        ([[1], []], 4, 5, "prompt 1: empty"),
        ([[1]], 0, 5, "gamma: 0"),
        ([[1]], 4, 0, "max_new_tokens: 0"),
        ([[1] * 252], 4, 5, "do not fit into the target's context of 256"),
    ],
)
def test_bad_input_is_one_clear_line(asked, gamma, limit, message):
    target = tiny_llama()
    drafter = ExitDrafter(target, untrained_exit(target, 1, "head"))
    with pytest.raises(StudyError, match=message):
        speculate(target, drafter, asked, GREEDY, gamma, limit, torch.Generator())


def test_nan_logits_are_an_error():
    target = tiny_llama()
    target.norm.weight.data[0] = float("nan")
    for policy in (GREEDY, Policy("t1", 1.0)):
        with pytest.raises(StudyError, match="NaN"):
            vanilla(target, [[1, 2]], policy, 3, torch.Generator())


@pytest.mark.parametrize("policy", [GREEDY, Policy("warm", 0.8)], ids=["greedy", "warm"])
def test_the_private_block_is_back_filled_when_it_shares_no_layer(policy):
    """Exit at layer 0 of a one-layer target: drafts and target are one, and must stay so for the whole answer."""
    target = tiny_llama(layers=1)
    drafter = ExitDrafter(target, untrained_exit(target, 0, "head_block"))
    result = speculate(target, drafter, prompts(5), policy, 3, 40, torch.Generator().manual_seed(0))
    assert {cycle.accepted for cycle in result.cycles if not cycle.cut} == {3}


@pytest.mark.parametrize("kind", ["head", "head_block", "lookup"])
def test_nothing_grows_with_the_answer_but_the_cache(kind):
    """Bytes of all live tensors, counted between cycles: as many late in an answer as early."""
    target = tiny_llama(positions=512)
    exit_ = perturbed_exit(target, 1, "head" if kind == "lookup" else kind)
    drafter = LookupDrafter(2) if kind == "lookup" else ExitDrafter(target, exit_, adapt=True)
    seen = {}
    gc.freeze()  # what other tests left is not looked at; a process has millions of objects
    try:
        made = cycles(target, drafter, [[1, 2, 3]], GREEDY, 3, 400, torch.Generator().manual_seed(0))
        for number, _ in enumerate(made):
            if number >= 20 and number not in (41, 45, 49, 54, 59):
                continue
            gc.collect()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tensors = (thing for thing in gc.get_objects() if isinstance(thing, torch.Tensor))
                seen[number] = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
            if number == 59:
                break
    finally:
        gc.unfreeze()
    assert min(seen.values()) > 0
    late = {number: seen.pop(number) for number in list(seen) if number >= 20}
    assert len(late) == 5
    assert max(late.values()) <= max(seen.values())
