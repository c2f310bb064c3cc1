"""Drafts that branch: greedy output stays vanilla's, outcomes are those of the accepted path, bad trees are named."""

import itertools

import pytest
import torch
from branching import Branching
from tiny_llama import moved_eagle3, perturbed_exit, tiny_llama

from selfdraft.decoding.accept_tree import accept_tree
from selfdraft.decoding.branches import sees
from selfdraft.decoding.drafter import Draft
from selfdraft.decoding.drafting import Drafting, Tree
from selfdraft.decoding.loop import speculate, vanilla
from selfdraft.decoding.policy import Policy
from selfdraft.decoding.session import Session
from selfdraft.drafters import drafter_of, eagle3
from selfdraft.drafters.eagle3 import Eagle3Drafter
from selfdraft.drafters.exit import ExitDrafter
from selfdraft.drafters.hybrid import HybridDrafter
from selfdraft.drafters.lookup import LookupDrafter
from selfdraft.drafters.tree_by_level import draft_tree
from selfdraft.errors import StudyError
from selfdraft.models.cache import KVCache

GREEDY, WARM = Policy("greedy"), Policy("warm", 0.9)
PROMPTS = [[3, 1, 4], [1, 5], [9, 2, 6, 5, 3, 5]]
SHAPE = (-1, -1, 0, 1, 1, -1, 0, 3, 4)
FEATURES = (1, 2, 3)


def generator():
    return torch.Generator().manual_seed(0)


def followed(target):
    """What follows a token in vanilla's answers, as a table to draft from: often right, at times only the second."""
    likely = 0.3 * torch.rand((target.config.vocab_size,) * 2, generator=generator())
    for prompt, tokens in zip(PROMPTS, vanilla(target, PROMPTS, GREEDY, 40, generator()).tokens, strict=True):
        text = [*prompt, *tokens]
        for one, other in itertools.pairwise(text):
            likely[one, other] += 1
    return likely


def branching(target, chance=False, depths=(), shape=SHAPE):
    drafter = Branching(target.config.vocab_size, shape, chance, depths)
    drafter.likely = followed(target)
    return drafter


@pytest.mark.parametrize("chance", [False, True], ids=["chosen", "drawn"])
@pytest.mark.parametrize("asked", [PROMPTS[:1], PROMPTS], ids=["alone", "batch"])
def test_greedy_output_is_vanillas(asked, chance):
    target = tiny_llama(scale=0.2)
    truth = vanilla(target, asked, GREEDY, 40, generator()).tokens
    result = speculate(target, branching(target, chance), asked, GREEDY, 3, 40, generator())
    assert result.tokens == truth
    assert {cycle.accepted for cycle in result.cycles} >= {0, 1, 2}


@pytest.mark.parametrize(
    ("tree", "norm_output"), [(Tree(1, 1), False), (Tree(16, 4), False), (Tree(16, 4), True), (Tree(7, 40), True)]
)
def test_eagle3_draws_trees_and_greedy_output_is_vanillas(tree, norm_output):
    target = tiny_llama(scale=0.2)
    draft = moved_eagle3(target, FEATURES, torch.arange(0, 61, 2), True, norm_output)
    drafter = Eagle3Drafter(target, draft, tree=tree)
    asked = [[7], *PROMPTS]
    truth = [vanilla(target, [prompt], GREEDY, 30, generator()).tokens[0] for prompt in asked]
    for gamma in (1, 4):
        assert speculate(target, drafter, asked, GREEDY, gamma, 30, generator()).tokens == truth
        alone = speculate(target, drafter, asked[1:2], GREEDY, gamma, 30, generator())
        assert alone.tokens == truth[1:2]
        whole = {cycle.drafted for cycle in alone.cycles if not cycle.cut}
        if gamma == 4:
            assert whole == {min(tree.nodes, 4 * 31)}


def test_a_tree_without_branches_drafts_what_a_chain_drafts():
    target = tiny_llama(scale=0.2)
    draft = moved_eagle3(target, FEATURES, torch.arange(61))
    found = []
    for tree in (None, Tree(4, 1)):
        drafter = Eagle3Drafter(target, draft, tree=tree)
        made = speculate(target, drafter, [[7, *prompt] for prompt in PROMPTS], GREEDY, 4, 60, generator(), whole=True)
        found.append([(cycle.row, cycle.drafted, cycle.tokens) for cycle in made.cycles])
    assert found[0] == found[1]
    assert any(len(tokens) > 1 for _, _, tokens in found[0])


def test_rows_of_a_batch_draft_the_trees_that_they_would_draft_alone():
    target = tiny_llama(scale=0.2)
    drafter = Eagle3Drafter(target, moved_eagle3(target, FEATURES, torch.arange(61)), tree=Tree(12, 4))
    asked = [[7, *prompt] for prompt in PROMPTS]
    batch = speculate(target, drafter, asked, GREEDY, 3, 60, generator(), whole=True)
    for row, prompt in enumerate(asked):
        alone = speculate(target, drafter, [prompt], GREEDY, 3, 60, generator(), whole=True)
        assert [c.accepted for c in batch.cycles if c.row == row] == [c.accepted for c in alone.cycles]
    assert {cycle.accepted for cycle in batch.cycles} >= {0, 1, 2}


@pytest.mark.parametrize(
    ("chances", "paths"),
    [
        (None, {(0,), (0, 0), (1,), (0, 1)}),  # of q alone: 0.6, 0.36, 0.3, 0.18; (1, 0) is worth 0.18 too, and later
        ((1.0, 1.0, 1.0), {(0,), (0, 0), (1,), (0, 1)}),
        ((0.5, 1.0, 1.0), {(0,), (0, 0), (1,), (0, 1)}),  # alike for all: no other tree
        ((1.0, 0.2, 1.0), {(0,), (1,), (1, 0), (2,)}),  # behind token 0 little is known: 0.6 * 0.6 * 0.2 = 0.072
        ((1.0, 0.2, 0.5), {(0,), (1,), (2,), (1, 0)}),  # 0.09 behind token 1
        ((1.0, 0.0, 0.0), {(0,), (1,), (2,), (2, 0)}),  # nothing behind 0 and 1
    ],
)
def test_paths_are_worth_what_is_expected_to_be_accepted_of_them(chances, paths):
    """Two levels of three tokens with q = 0.6, 0.3, 0.1 behind each; the second behind tokens 0, 1 and 2."""
    logits = torch.tensor([0.6, 0.3, 0.1]).log()
    script = [] if chances is None else [torch.tensor([chances[:1]]), torch.tensor([[*chances[1:], 1.0]])]

    def expand(tokens, parents, seen, level):
        assert tokens.tolist() == [[0, 1, 2]]
        return logits.expand(1, 3, 3)

    chance = None if chances is None else lambda: script.pop(0)
    draft = draft_tree(logits.unsqueeze(0), expand, 2, Tree(4, 3), 9, torch.arange(3), 9, chance)
    found, tokens = [], draft.tokens[0].tolist()
    for place, parent in enumerate(draft.parents[0].tolist()):
        found.append((*(found[parent] if parent >= 0 else ()), tokens[place]))
    assert set(found) == paths
    assert script == []


def test_a_confidence_head_weighs_branches_and_the_output_stays():
    target = tiny_llama(scale=0.2)
    draft = moved_eagle3(target, FEATURES, torch.arange(61), confidence=True)
    draft.confidence.weight.data *= 30  # sure of some tokens, and of others not at all
    asked = [[7, *prompt] for prompt in PROMPTS]
    found = []
    for weighed in (True, False):
        drafter = Eagle3Drafter(target, draft, tree=Tree(9, 4))
        if not weighed:
            drafter._asked = None
        result = speculate(target, drafter, asked, GREEDY, 3, 40, generator(), whole=True)
        truth = vanilla(target, asked, GREEDY, 40, generator()).tokens
        assert [tokens[:40] for tokens in result.tokens] == truth
        alone = speculate(target, drafter, asked[:1], GREEDY, 3, 40, generator(), whole=True)
        assert [c.accepted for c in result.cycles if c.row == 0] == [c.accepted for c in alone.cycles]
        found.append([(cycle.row, cycle.accepted) for cycle in result.cycles])
    assert found[0] != found[1]


@pytest.mark.parametrize("bias_rank", [0, 4])
def test_every_continued_token_of_a_tree_has_the_logits_of_its_path_drafted_as_a_chain(monkeypatch, bias_rank):
    """So it saw its ancestors, at their positions, and nobody else."""
    target = tiny_llama()
    model = moved_eagle3(target, FEATURES, torch.arange(0, 61, 3), bias_rank=bias_rank)
    drafter = Eagle3Drafter(target, model, tree=Tree(12, 3))
    checked = 0
    original = eagle3.draft_tree

    def watched(logits, expand, *rest):
        paths, nonlocal_logits = [[[] for _ in range(logits.shape[0])]], []

        def noting(tokens, parents, seen, level):
            above = paths[-1]
            made = expand(tokens, parents, seen, level)
            told = tokens[0].tolist()
            paths.append([[*above[parents[0, at]], token] for at, token in enumerate(told)])
            nonlocal_logits.append(made[0])
            return made

        draft = original(logits, noting, *rest)
        watched.seen = list(zip(paths[1:], nonlocal_logits, strict=True))
        return draft

    def draft(session, gamma, policy, seeded):
        nonlocal checked
        lacking = drafter._lacking
        made = Eagle3Drafter.draft(drafter, session, gamma, policy, seeded)
        for paths, logits in watched.seen:
            for path, expected in zip(paths, logits, strict=True):
                drafter._lacking = lacking
                drafter._state = drafter.model.handed_on(drafter._catch_up(session))
                for position, token in enumerate(path, 1):
                    last = torch.tensor([[token]])
                    output = drafter._next(session, last, position)
                    drafter._state = drafter.model.handed_on(output)
                torch.testing.assert_close(drafter.model.logits(output, last)[0, 0], expected, atol=1e-4, rtol=1e-4)
                checked += 1
        return made

    monkeypatch.setattr(eagle3, "draft_tree", watched)
    monkeypatch.setattr(drafter, "draft", draft)
    speculate(target, drafter, [[7, 3, 1, 4]], GREEDY, 3, 20, generator())
    assert checked > 50


def heard_outcomes(target, drafter):
    """Whether outcomes put together are one forward pass over each text: tokens, states and logits of the path."""
    tokens = speculate(target, drafter, PROMPTS, GREEDY, 3, 30, generator()).tokens
    assert {accepted for outcome in drafter.heard for accepted in outcome.accepted} >= {0, 1, 2}
    same = True
    for row, prompt in enumerate(PROMPTS):
        text = torch.tensor([prompt + tokens[row]])
        step = target.step([0], text.shape[1])
        with torch.no_grad():
            states = {depth: target.run(target.embed(text), 0, depth, step)[0] for depth in (*drafter.depths, 4)}
            truth = target.logits(states[4])
        for outcome in drafter.heard:
            if outcome.tokens[row]:
                begin, count = outcome.starts[row], outcome.accepted[row] + 1
                assert outcome.tokens[row] == text[0, begin + 1 : begin + 1 + count].tolist()
                pairs = [(outcome.features[depth], states[depth]) for depth in drafter.depths]
                for found, expected in [*pairs, (outcome.logits, truth)]:
                    same &= torch.allclose(found[row, :count], expected[begin : begin + count], atol=1e-4, rtol=1e-4)
    return same


def features_one_position_off(monkeypatch):
    original = Session.settle

    def broken(self, path, logits):
        return original(self, [[max(0, node - 1) for node in nodes] for nodes in path], logits)

    monkeypatch.setattr(Session, "settle", broken)


def wrong_path_compacted(monkeypatch):
    monkeypatch.setattr(KVCache, "move", lambda self, sources, goals: None)


def siblings_see_each_other(monkeypatch):
    def causal(parents):
        ahead = torch.ones((parents.shape[1] + 1,) * 2, dtype=torch.bool).tril()
        return ahead.expand(len(parents), -1, -1)

    monkeypatch.setattr("selfdraft.decoding.session.sees", causal)


def test_outcomes_hold_the_states_of_the_accepted_path():
    target = tiny_llama(scale=0.2)
    assert heard_outcomes(target, branching(target, depths=(0, 1, 3, 4)))


@pytest.mark.parametrize(
    "mutation",
    [features_one_position_off, wrong_path_compacted, siblings_see_each_other],
    ids=lambda mutation: mutation.__name__,
)
def test_broken_outcomes_are_caught(mutation, monkeypatch):
    target = tiny_llama(scale=0.2)
    mutation(monkeypatch)
    assert not heard_outcomes(target, branching(target, depths=(0, 1, 3, 4)))


def test_a_node_sees_its_ancestors_and_itself():
    seen = sees(torch.tensor([[-1, 0, -1, 1, 2, 1]]))[0]
    expected = [{0}, {0, 1}, {0, 1, 2}, {0, 3}, {0, 1, 2, 4}, {0, 3, 5}, {0, 1, 2, 6}]
    assert [set(row.nonzero().flatten().tolist()) for row in seen] == expected


def test_twice_the_same_child_has_no_second_chance():
    """Of p the first takes all that is its token's: what is left goes to the others."""
    p = torch.tensor([0.5, 0.3, 0.2]).expand(20_000, 3, -1)
    tokens, parents = torch.zeros((20_000, 2), dtype=torch.int64), torch.full((20_000, 2), -1)
    accepted, following, path = accept_tree(p, tokens, parents, None, generator())
    assert abs(accepted.float().mean() - 0.5) < 0.02
    assert (path[accepted == 1, 0] == 0).all()
    assert not (following[accepted == 0] == 0).any()


def test_a_hybrid_drafts_trees_where_lookup_finds_nothing():
    target = tiny_llama()
    learned = Eagle3Drafter(target, moved_eagle3(target, FEATURES, torch.arange(61)), tree=Tree(9, 3))
    drafter = HybridDrafter(LookupDrafter(2, 2), learned, 2)
    truth = vanilla(target, PROMPTS, GREEDY, 60, generator()).tokens
    result = speculate(target, drafter, PROMPTS[:1], GREEDY, 4, 60, generator())
    assert result.tokens == truth[:1]
    drafted = {cycle.drafted for cycle in result.cycles if not cycle.cut}
    assert 9 in drafted
    assert drafted & {1, 2, 3, 4}
    assert speculate(target, drafter, PROMPTS, GREEDY, 4, 60, generator()).tokens == truth


@pytest.mark.parametrize("gamma", [1, 4, 30])
def test_the_last_token_of_the_context_is_reached(gamma):
    target = tiny_llama(positions=48)
    drafter = Eagle3Drafter(target, moved_eagle3(target, FEATURES, torch.arange(61)), tree=Tree(20, 4))
    asked = [[7, 8, 9] * 6, [5, 6], [3, 4] * 5]
    for prompts in (asked[:1], asked):
        new = 48 - max(map(len, prompts))
        expected = vanilla(target, prompts, GREEDY, new, generator()).tokens
        assert speculate(target, drafter, prompts, GREEDY, gamma, new, generator()).tokens == expected


class Proposes:
    """One draft, whatever was asked for; `leaves`: the pending token is taken to this depth before."""

    learns, depths = False, ()

    def __init__(self, tokens, parents, leaves=0):
        self.tokens, self.parents, self.leaves = tokens, parents, leaves

    def start(self, session): ...

    def draft(self, session, gamma, policy, seeded):
        if self.leaves:
            session.extend(session.pending, self.leaves)
        return Draft(torch.tensor([self.tokens]), parents=torch.tensor([self.parents]))

    def observe(self, outcome): ...


def test_a_tree_that_is_larger_than_the_room_is_one_clear_line():
    drafter = Proposes([1] * 40, [-1] * 40)
    with pytest.raises(StudyError, match="drafter: a tree of 40 nodes, the KV cache has room for 13"):
        speculate(tiny_llama(), drafter, [[1, 2]], GREEDY, 3, 10, generator())
    draft = moved_eagle3(tiny_llama(), FEATURES, torch.arange(61))
    with pytest.raises(
        StudyError, match=r"tree\.nodes: 256 and the token .* do not fit into the target's context of 256"
    ):
        Eagle3Drafter(tiny_llama(), draft, tree=Tree(256, 2))


def test_a_tree_of_tokens_whose_states_the_session_holds_is_noticed():
    drafter = Proposes([1, 2], [-1, -1], leaves=2)
    with pytest.raises(RuntimeError, match="has run tokens through the target's layers, and proposes a tree"):
        speculate(tiny_llama(), drafter, [[1, 2]], GREEDY, 3, 10, generator())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tree": {"nodes": 0, "children": 4}}, r"drafting\.mine\.tree\.nodes: 0 is not ≥ 1"),
        ({"tree": {"nodes": 8, "children": 0}}, r"drafting\.mine\.tree\.children: 0 is not ≥ 1"),
        ({"tree": {"nodes": True, "children": 4}}, r"drafting\.mine\.tree\.nodes: true is not a whole number"),
        ({"tree": {"nodes": 8}}, r"drafting\.mine\.tree\.children: missing; it must be set"),
        ({"tree": 16}, r"drafting\.mine\.tree: 16 is not a mapping"),
        ({"tree": {"nodes": 8, "children": 4}, "adapt": True}, r"drafting\.mine\.tree: goes with vocabulary alone"),
    ],
)
def test_bad_settings_name_their_key(settings, message):
    with pytest.raises(StudyError, match=message):
        Drafting.from_settings("mine", settings)


def test_kinds_that_draft_chains_say_so():
    way = Drafting.from_settings("tree", {"tree": {"nodes": 8, "children": 4}})
    with pytest.raises(StudyError, match=r"drafters\.it: lookup drafts no trees: drafting tree is not for it"):
        drafter_of("it", {"kind": "lookup"}, tiny_llama(), way)


def test_exits_keep_drafting_chains():
    target = tiny_llama()
    assert not hasattr(ExitDrafter(target, perturbed_exit(target, 1, "head")), "tree")
