"""Ways of drafting: early stopping, length from acceptance, trimmed vocabulary; their settings and their effect."""

import numpy as np
import pytest
import torch
from tiny_llama import perturbed_exit, tiny_llama

from selfdraft.capacities import CAPACITIES
from selfdraft.decoding.drafting import Drafting
from selfdraft.decoding.loop import speculate, vanilla
from selfdraft.decoding.pace import Pace
from selfdraft.decoding.policy import Policy
from selfdraft.drafters import drafter_of
from selfdraft.drafters.exit import ExitDrafter
from selfdraft.drafters.model import ModelDrafter
from selfdraft.errors import StudyError
from selfdraft.models.exit import untrained_exit
from selfdraft.models.vocabulary import most_frequent

GREEDY = Policy("greedy")


def generator():
    return torch.Generator().manual_seed(0)


def test_pace_drafts_longer_after_acceptance_and_nothing_after_rejections_but_for_trials():
    pace = Pace(draft_cost=0.3)
    assert 1 <= pace.length(8, []) < 8
    for _ in range(10):
        grown = pace.length(8, [(8, 8)])
    assert grown == 8
    shrunk = [pace.length(8, [(4, 0)]) for _ in range(40)]
    assert shrunk[0] > 0
    assert 0 in shrunk[-2:]
    lengths = [pace.length(8, [(0, 0)]) for _ in range(18)]
    assert set(lengths) == {0, 1}
    assert lengths.count(1) == 2  # once in nine cycles
    assert pace.length(8, []) == Pace(0.3).length(8, [])  # a new generation begins anew


def test_pace_finds_the_maximum_of_the_cost_model():
    pace = Pace(draft_cost=0.2, accepted=4.0, rejected=1.0)
    speed = {g: sum(0.8**k for k in range(g + 1)) / (0.2 * g + 1) for g in range(1, 9)}
    assert pace.length(8, [(0, 0)]) == max(speed, key=speed.get)


def test_pace_reckons_with_what_one_more_token_costs_to_verify():
    cheap, dear = Pace(0.1, accepted=4.0, rejected=6.0), Pace(0.1, accepted=4.0, rejected=6.0, verification_cost=0.2)
    assert dear.best(8) == Pace(0.3, accepted=4.0, rejected=6.0).best(8)
    assert dear.best(8)[0] < cheap.best(8)[0]
    assert dear.least(8) > cheap.least(8)


def test_pace_says_from_which_chance_on_one_more_token_pays():
    """Where all tokens so far are as sure as α says, that is the length that the cost model finds, or one beyond."""
    for cost in (0.05, 0.1, 0.3):
        pace = Pace(cost, accepted=7.0, rejected=3.0)
        best, speed = pace.best(20)
        assert pace.least(20) == pytest.approx(speed * cost / 0.7)
        assert 0.7 ** (best - 1) > pace.least(20) > 0.7 ** (best + 1)


def test_a_perfect_drafter_drafts_all_and_a_useless_one_little():
    target = tiny_llama()
    perfect = ExitDrafter(target, untrained_exit(target, 3, "head"), adapt=True)
    assert perfect.pace.draft_cost == pytest.approx(1.0)  # every step of it costs as much as the target's
    perfect.pace.draft_cost = 0.1
    drafted = [c.drafted for c in speculate(target, perfect, [[1, 2, 3]], GREEDY, 5, 60, generator()).cycles]
    assert max(drafted) == 5
    useless = ExitDrafter(target, perturbed_exit(target, 0, "head", 5.0), adapt=True)
    drafted = [c.drafted for c in speculate(target, useless, [[1, 2, 3]], GREEDY, 5, 60, generator()).cycles]
    assert sum(drafted) / len(drafted) < 0.7


@pytest.mark.parametrize("kind", ["head", "head_block", "model"])
def test_after_cycles_without_a_draft_the_drafters_own_cache_is_whole_again(kind):
    """Drafts of the target itself must all be accepted, also right after cycles in which nothing was drafted."""
    target = tiny_llama(layers=2)
    if kind == "model":
        drafter = ModelDrafter(target, target, adapt=True)
    else:
        drafter = ExitDrafter(target, untrained_exit(target, 1, kind), adapt=True)

    class Now(Pace):
        def length(self, gamma, decided):
            self.idle += 1
            return (0, 2, 0, 0, 0, 1, 3)[self.idle % 7]

    drafter.pace = Now(1.0)
    result = speculate(target, drafter, [[1, 2, 3], [4]], GREEDY, 3, 60, generator())
    assert result.tokens == vanilla(target, [[1, 2, 3], [4]], GREEDY, 60, generator()).tokens
    whole = [cycle for cycle in result.cycles if not cycle.cut]
    assert {cycle.drafted for cycle in whole} == {0, 1, 2, 3}
    assert all(cycle.accepted == cycle.drafted for cycle in whole)


@pytest.mark.parametrize("way", [{"min_confidence": 0.5}, {"max_entropy": 2.0}, {"adapt": True}, {"vocabulary": 20}])
@pytest.mark.parametrize("kind", [*CAPACITIES, "model"])
def test_greedy_output_is_vanillas_in_every_way_of_drafting(kind, way):
    target = tiny_llama()
    drafting = Drafting.from_settings("way", way)
    kept = torch.arange(0, 60, 3) if drafting.vocabulary else None
    if kind == "model":
        model = tiny_llama(layers=1, seed=3)
        drafter = ModelDrafter(target, model, drafting.stopping(), drafting.adapt, kept)
    else:
        draft = perturbed_exit(target, 1, kind)
        drafter = ExitDrafter(
            target, draft.trim(kept) if kept is not None else draft, drafting.stopping(), drafting.adapt
        )
    prompts = [[3, 1, 4], [1, 5], [9, 2, 6, 5, 3, 5]]
    truth = vanilla(target, prompts, GREEDY, 25, generator()).tokens
    result = speculate(target, drafter, prompts, GREEDY, 4, 25, generator())
    assert result.tokens == truth
    drafted = [cycle.drafted for cycle in result.cycles]
    assert way == {"vocabulary": 20} or min(drafted) < 4


def test_a_trimmed_drafter_proposes_kept_tokens_only():
    target = tiny_llama()
    kept = torch.tensor([5, 17, 40])
    for drafter in (
        ExitDrafter(target, perturbed_exit(target, 1, "head").trim(kept)),
        ModelDrafter(target, tiny_llama(layers=1, seed=3), kept_ids=kept),
    ):
        seen = speculate(target, drafter, [[1, 2, 3]] * 20, Policy("t1", 1.0), 3, 20, generator(), trace=True).cycles
        assert {token for cycle in seen for token in cycle.tokens[: cycle.accepted]} <= set(kept.tolist())


def test_a_draft_model_with_a_shorter_context_is_named():
    target, short = tiny_llama(), tiny_llama(layers=1, positions=32)
    assert len(speculate(target, ModelDrafter(target, short), [[1] * 8], GREEDY, 4, 20, generator()).tokens[0]) == 20
    with pytest.raises(StudyError, match="draft model: its context of 32 tokens is shorter than the 33 of a prompt"):
        speculate(target, ModelDrafter(target, short), [[1] * 8], GREEDY, 4, 21, generator())


def test_the_most_frequent_tokens_are_counted_and_filled_up_by_id():
    counts = np.bincount([7, 7, 7, 2, 2, 9], minlength=12)
    assert most_frequent(counts, 2).tolist() == [2, 7]
    assert most_frequent(counts, 5).tolist() == [0, 1, 2, 7, 9]
    for count in (0, 13):
        with pytest.raises(StudyError, match=f"draft vocabulary: {count} tokens asked, the target has 12"):
            most_frequent(counts, count)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_confidence": 1.5}, r"drafting\.mine\.min_confidence: 1.5 is not in \[0, 1\]"),
        ({"min_confidence": "high"}, r'drafting\.mine\.min_confidence: "high" is not a number'),
        ({"max_entropy": -1}, r"drafting\.mine\.max_entropy: -1 is not ≥ 0"),
        ({"vocabulary": 0}, r"drafting\.mine\.vocabulary: 0 is not ≥ 1"),
        ({"adapt": 1}, r"drafting\.mine\.adapt: 1 is not true or false"),
        ({"verification_cost": 0.1}, r"drafting\.mine\.verification_cost: is what adapt reckons with; set adapt too"),
        ({"adapt": True, "verification_cost": -1}, r"drafting\.mine\.verification_cost: -1 is not ≥ 0"),
        ({"confidence": 0.4}, r'drafting\.mine\.confidence: unknown key; did you mean "min_confidence"?'),
    ],
)
def test_bad_settings_name_their_key(settings, message):
    with pytest.raises(StudyError, match=message):
        Drafting.from_settings("mine", settings)


@pytest.mark.parametrize(
    ("settings", "way", "message"),
    [
        ({"kind": "eagle"}, {}, r"drafters\.it\.kind: 'eagle' is unknown; one of lookup, model"),
        ({"kind": "lookup", "n": 2}, {}, r"drafters\.it\.n: unknown key; known are kind, max_ngram"),
        ({"kind": "lookup", "max_ngram": 0}, {}, r"max_ngram: 0 is not ≥ 1"),
        ({"kind": "lookup"}, {"adapt": True}, r"drafters\.it: lookup has no confidence"),
        ({"kind": "model"}, {}, r"drafters\.it\.folder: missing"),
    ],
)
def test_bad_drafters_name_what_is_wrong(settings, way, message):
    with pytest.raises(StudyError, match=message):
        drafter_of("it", settings, tiny_llama(), Drafting.from_settings("way", way))
