"""Lookup with another drafter behind it: who drafts when, and greedy output that stays vanilla's, also in batches."""

import pytest
import torch
from tiny_llama import moved_eagle3, perturbed_exit, tiny_llama

from selfdraft.decoding.drafting import Drafting
from selfdraft.decoding.loop import speculate, vanilla
from selfdraft.decoding.policy import Policy
from selfdraft.drafters import drafter_of, files_of
from selfdraft.drafters.eagle3 import Eagle3Drafter
from selfdraft.drafters.exit import ExitDrafter
from selfdraft.drafters.hybrid import HybridDrafter
from selfdraft.drafters.lookup import LookupDrafter
from selfdraft.drafters.model import ModelDrafter
from selfdraft.errors import StudyError
from selfdraft.evaluation.steps import step_rows

GREEDY = Policy("greedy")
REPEATED = [[5, 6, 7, 8] * 4, [9], [1, 2, 3, 1, 2], [4, 4, 4, 4, 4, 4], [30, 20, 10]]


class Noted:
    """A drafter that notes what it is asked."""

    depths, learns = (), False

    def __init__(self, inner):
        self.inner, self.depths, self.asked = inner, inner.depths, []

    def start(self, session):
        self.inner.start(session)

    def draft(self, session, gamma, policy, generator):
        self.asked.append(gamma)
        return self.inner.draft(session, gamma, policy, generator)

    def observe(self, outcome):
        self.inner.observe(outcome)


def learned(target, kind):
    if kind == "eagle3":
        return Eagle3Drafter(target, moved_eagle3(target, (1, 2, 3), torch.arange(0, 61, 2)))
    if kind == "model":
        return ModelDrafter(target, tiny_llama(layers=1, seed=3))
    return ExitDrafter(target, perturbed_exit(target, 1, kind))


@pytest.mark.parametrize("kind", ["eagle3", "model", "head_block", "adapter", "lora"])
@pytest.mark.parametrize("most", [None, 1, 3])
def test_greedy_output_is_vanillas_alone_and_in_a_batch(kind, most):
    target, generator = tiny_llama(), torch.Generator().manual_seed(0)
    drafter = HybridDrafter(LookupDrafter(3, 1), learned(target, kind), most)
    alone = [vanilla(target, [prompt], GREEDY, 30, generator).tokens[0] for prompt in REPEATED]
    assert speculate(target, drafter, REPEATED, GREEDY, 4, 30, generator).tokens == alone
    for prompt, expected in zip(REPEATED, alone, strict=True):
        assert speculate(target, drafter, [prompt], GREEDY, 4, 30, generator).tokens == [expected]


def test_each_drafts_where_it_should():
    target, generator = tiny_llama(), torch.Generator().manual_seed(0)
    other = Noted(learned(target, "eagle3"))
    speculate(target, HybridDrafter(LookupDrafter(3, 2), other, 2), [[5, 6, 7, 5, 6]], GREEDY, 4, 5, generator)
    first = speculate(target, LookupDrafter(3, 2), [[5, 6, 7, 5, 6]], GREEDY, 4, 5, generator).cycles[0]
    assert first.drafted == 3  # 7 5 6, and no more of the text
    assert all(gamma <= 2 for gamma in other.asked)
    other.asked = []
    speculate(target, HybridDrafter(LookupDrafter(3, 2), other, 2), [[5, 6, 7, 8]], GREEDY, 4, 1, generator, whole=True)
    assert other.asked == [2]


def test_cycles_say_who_drafted_and_steps_are_timed_by_part():
    target, generator = tiny_llama(), torch.Generator().manual_seed(0)
    hybrid = HybridDrafter(LookupDrafter(3, 2), learned(target, "eagle3"))
    batch = [[5, 6, 7, 5, 6], [1, 2, 3, 4, 9]]
    first = {cycle.row: cycle for cycle in speculate(target, hybrid, batch, GREEDY, 3, 1, generator, whole=True).cycles}
    assert (first[0].looked_up, first[1].looked_up) == (True, False)
    alone = speculate(target, LookupDrafter(3, 2), [batch[0]], GREEDY, 3, 1, generator, whole=True)
    assert not alone.cycles[0].looked_up  # a drafter of one kind says nothing
    points = [(hybrid, gamma, {"drafter": "hybrid", "gamma": gamma}) for gamma in (2, 3)]
    rows = list(step_rows(target, points, list(range(61)), GREEDY, [20], 2, 0))
    found = {(row["step"], row["tokens"]) for row in rows if row["drafter"] == "hybrid"}
    assert found == {(step, n) for step in ("lookup", "draft") for n in (2, 3)} | {("verify", n) for n in (1, 3, 4)}


def test_after_cycles_of_lookup_the_other_drafts_as_if_it_had_been_alone():
    """It is caught up with what it has not drafted: the same acceptance from there on, for a text that is the same."""
    target, generator = tiny_llama(scale=0.2), torch.Generator().manual_seed(0)

    class Sometimes(LookupDrafter):
        """Proposes a wrong token in every second cycle."""

        def proposals(self, session, gamma):
            self.turn = not getattr(self, "turn", False)
            return [[60]] if self.turn else [[]]

    for kind in ("eagle3", "model", "head_block"):
        drafter = learned(target, kind)
        mixed = speculate(target, HybridDrafter(Sometimes(), drafter), [[7, 1, 2]], GREEDY, 3, 60, generator)
        text = [7, 1, 2, *mixed.tokens[0]]
        at, again = 3, []
        for cycle in mixed.cycles:
            if cycle.drafted == 3 and not cycle.cut:
                alone = speculate(target, drafter, [text[:at]], GREEDY, 3, 1, generator, whole=True)
                again.append((cycle.accepted, alone.cycles[0].accepted))
            at += len(cycle.tokens)
        assert len(again) > 5
        assert [one for one, _ in again] == [other for _, other in again]


def test_each_row_of_a_batch_is_drafted_for_as_if_it_were_alone():
    """Lookup for the rows that repeat themselves, the other drafter for those that do not, in one cycle."""
    target, generator = tiny_llama(scale=0.2), torch.Generator().manual_seed(0)
    prompts = [[5, 6, 7, 8] * 4, [30, 20, 10, 40, 3], [1, 2, 3, 1, 2]]
    drafter = HybridDrafter(LookupDrafter(3, 2), learned(target, "eagle3"), 2)

    def story(prompts, row):
        found = speculate(target, drafter, prompts, GREEDY, 4, 20, generator).cycles
        return [(cycle.drafted, cycle.accepted, cycle.tokens) for cycle in found if cycle.row == row and not cycle.cut]

    together = [story(prompts, row) for row in range(len(prompts))]
    assert together == [story([prompt], 0) for prompt in prompts]
    firsts = [cycles[0][0] for cycles in together]
    assert firsts == [4, 2, 3]  # lookup's, the other's, and lookup's again, which has no more text


def test_settings_build_it_and_its_files_are_known(tmp_path):
    made = {"kind": "hybrid", "lookup": {"max_ngram": 3}, "drafter": {"kind": "eagle3", "folder": str(tmp_path)}}
    assert files_of(made) == [tmp_path / "config.json", tmp_path / "draft.safetensors"]
    assert files_of({"kind": "lookup", "max_ngram": 3}) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, r"drafters\.it\.drafter: missing; it must be set"),
        ({"drafter": "eagle3"}, r"drafters\.it\.drafter: found 'eagle3', the settings of a drafter with a model"),
        ({"drafter": {"kind": "lookup"}}, r"drafters\.it\.drafter: found .*, the settings of a drafter with a model"),
        ({"drafter": {"kind": "model"}}, r"drafters\.it\.drafter\.folder: missing; it must be set"),
        ({"drafter": {"kind": "model", "folder": "nowhere"}}, "nowhere"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(settings, message):
    with pytest.raises(StudyError, match=message) as error:
        drafter_of("it", {"kind": "hybrid", **settings}, tiny_llama(), Drafting())
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("lookup", "message"),
    [
        ({"min_ngram": 5}, "lookup.min_ngram: 5 is more than max_ngram, 4"),
        ({"max_ngram": 0}, "lookup.max_ngram: 0 is not ≥ 1"),
        ({"most": 3}, "lookup: found {'most': 3}, settings among max_ngram, min_ngram are right"),
    ],
)
def test_wrong_settings_of_its_lookup_are_refused(lookup, message):
    from selfdraft.drafters.hybrid import lookup_of

    with pytest.raises(StudyError, match=message):
        lookup_of(lookup, "drafters.it.lookup")
    with pytest.raises(StudyError, match="most: 0 is not ≥ 1"):
        HybridDrafter(LookupDrafter(), Noted(LookupDrafter()), 0)
