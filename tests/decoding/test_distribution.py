"""The whole loop returns the target's own distribution: next 4 tokens of an enumerable model, G-test.

`pytest -m exhaustive` runs every combination instead of the covering selection below.
"""

import itertools

import pytest
import torch
from branching import Branching
from scipy.stats import chi2
from tiny_llama import moved_eagle3, perturbed_exit, tiny_llama

from selfdraft.capacities import CAPACITIES
from selfdraft.decoding import accept_tree, loop
from selfdraft.decoding.accept import accept
from selfdraft.decoding.drafting import Tree
from selfdraft.decoding.policy import Policy, sample
from selfdraft.decoding.session import Session
from selfdraft.decoding.stopping import Stopping
from selfdraft.drafters.adaptive_early_exit import AdaptiveDrafter
from selfdraft.drafters.dynamic import DynamicDrafter
from selfdraft.drafters.eagle3 import Eagle3Drafter
from selfdraft.drafters.exit import ExitDrafter
from selfdraft.drafters.hybrid import HybridDrafter
from selfdraft.drafters.lookup import LookupDrafter
from selfdraft.drafters.model import ModelDrafter
from selfdraft.models.cache import KVCache

VOCAB, NEXT, ROWS, PROMPT = 6, 4, 10_000, [1, 2, 0, 1, 2]
POLICIES = {
    "greedy": Policy("greedy"),
    "t0.7": Policy("t0.7", 0.7, top_p=0.95),
    "t1": Policy("t1", 1.0),
    "top_k": Policy("top_k", 1.0, top_k=5),
    "t1.5": Policy("t1.5", 1.5),
}
TARGET = tiny_llama(vocab=VOCAB, layers=2, scale=0.5, seed=3, kv_heads=1)


KEPT = torch.tensor([0, 2, 3, 5])
SHAPE = (-1, -1, 0, -1, 1, 0, 1, 2, 4)  # of trees: three siblings, below them two, two and one


def drafter_of(kind, length="fixed", trimmed=False):
    stopping = {"confident": Stopping(min_confidence=0.5), "entropy": Stopping(max_entropy=1.2)}.get(length)
    adapt, kept = length == "adapt", KEPT if trimmed else None
    if kind == "lookup":
        return LookupDrafter(2)
    if kind in ("chosen", "drawn"):
        return Branching(VOCAB, SHAPE, kind == "drawn")
    if kind == "model":
        model = tiny_llama(vocab=VOCAB, layers=1, scale=0.5, seed=5, kv_heads=1)
        return ModelDrafter(TARGET, model, stopping, adapt, kept)
    if kind in ("eagle3", "confident"):
        draft = moved_eagle3(TARGET, (0, 1, 2), torch.arange(VOCAB), True, True, 0.3, confidence=kind == "confident")
        return Eagle3Drafter(
            TARGET, draft.trim(kept) if trimmed else draft, stopping, adapt, Tree(7, 3) if length == "tree" else None
        )
    if kind == "hybrid":
        return HybridDrafter(LookupDrafter(2, 2), drafter_of("eagle3", length, trimmed), 3)
    if kind == "adaptive":
        exits = [perturbed_exit(TARGET, 0, "head", 0.3), perturbed_exit(TARGET, 1, "adapter", 0.3)]
        return AdaptiveDrafter(
            TARGET,
            [(made.trim(kept) if trimmed else made, limit) for made, limit in zip(exits, (1.1, 1.4), strict=True)],
        )
    if kind == "dynamic":
        heads = [perturbed_exit(TARGET, 0, "head", 0.3), perturbed_exit(TARGET, 1, "adapter", 0.3)]
        made = DynamicDrafter(TARGET, [head.trim(kept) if trimmed else head for head in heads], stopping, 1)
        made._costs = [0.05, 0.1]  # of a target so small drafts are dear
        return made
    draft = perturbed_exit(TARGET, 0, kind, 0.3)
    return ExitDrafter(TARGET, draft.trim(kept) if trimmed else draft, stopping, adapt)


def exact(policy):
    """Probability of each of the VOCAB ** NEXT continuations, [outcomes], from whole forward passes."""
    outcomes = torch.tensor(list(itertools.product(range(VOCAB), repeat=NEXT)))
    tokens = torch.cat((torch.tensor(PROMPT).repeat(len(outcomes), 1), outcomes), dim=1)
    with torch.no_grad():
        p = policy.distribution(TARGET(tokens)[:, len(PROMPT) - 1 : -1])
    return p.gather(-1, outcomes.unsqueeze(-1)).squeeze(-1).double().prod(-1)


def counts(drafter, policy, gamma, generations, seed=0, batch=ROWS):
    """How often each continuation came out of the loop, [outcomes]."""
    generator = torch.Generator().manual_seed(seed)
    place = torch.tensor([VOCAB ** (NEXT - 1 - i) for i in range(NEXT)])
    total = torch.zeros(VOCAB**NEXT, dtype=torch.int64)
    for begin in range(0, generations, batch):
        rows = min(batch, generations - begin)
        found = [[] for _ in range(rows)]
        # more tokens than are looked at: long drafts are not cut by the limit
        cycles = loop.cycles(TARGET, drafter, [PROMPT] * rows, policy, gamma, max(NEXT, gamma + 1), generator)
        short = rows
        for cycle in cycles:
            row = found[cycle.row]
            short -= len(row) < NEXT <= len(row) + len(cycle.tokens)
            row += cycle.tokens
            if not short:
                break  # all that is looked at is there
        first = torch.tensor([row[:NEXT] for row in found])
        total += (first * place).sum(1).bincount(minlength=len(total))
    return total


def p_value(observed, probability):
    """G-test; cells expected fewer than 5 times are pooled. 0 if something impossible came out."""
    expected = probability / probability.sum() * observed.sum()
    if (observed[expected == 0] > 0).any():
        return 0.0
    large = expected >= 5
    seen = torch.cat((observed[large], observed[~large].sum().view(1))).double()
    hoped = torch.cat((expected[large], expected[~large].sum().view(1)))
    seen, hoped = seen[hoped > 0], hoped[hoped > 0]
    g = 2 * (torch.xlogy(seen, seen) - torch.xlogy(seen, hoped)).sum()
    return float(chi2.sf(g, len(seen) - 1)) if len(seen) > 1 else 1.0


# (drafter, policy, gamma, length of drafts, trimmed): every drafter, policy, gamma and switch at least once
COVERING = [
    ("head", "t0.7", 1, "fixed", True),
    ("head", "t1", 4, "confident", False),
    ("head_block", "top_k", 8, "fixed", False),
    ("head_block", "t1.5", 5, "entropy", True),
    ("head_block", "t1", 6, "adapt", False),
    ("model", "t1", 2, "fixed", True),
    ("model", "t0.7", 7, "confident", False),
    ("lookup", "t1.5", 6, "fixed", False),
    ("eagle3", "t1", 4, "fixed", True),
    ("eagle3", "t0.7", 2, "confident", False),
    ("eagle3", "top_k", 5, "adapt", True),
    ("lookup", "top_k", 3, "fixed", False),
    ("norm", "t0.7", 2, "fixed", False),
    ("translator", "t1", 3, "fixed", True),
    ("low_rank_head", "t1.5", 4, "confident", True),
    ("adapter", "t1", 5, "adapt", False),
    ("lora", "top_k", 3, "fixed", True),
    ("head", "greedy", 3, "adapt", False),
    ("head_block", "greedy", 5, "confident", True),
    ("model", "greedy", 4, "fixed", False),
    ("lookup", "greedy", 2, "fixed", False),
    ("eagle3", "greedy", 3, "fixed", False),
    ("hybrid", "greedy", 4, "fixed", False),
    ("hybrid", "t1", 4, "confident", True),
    ("chosen", "t1", 3, "tree", False),
    ("drawn", "t1", 3, "tree", False),
    ("eagle3", "t1", 3, "tree", False),
    ("eagle3", "top_k", 4, "tree", True),
    ("confident", "t1", 3, "tree", False),
    ("eagle3", "greedy", 3, "tree", False),
    ("hybrid", "t0.7", 3, "tree", True),
]
EVERY = [
    (kind, policy, gamma, length, trimmed)
    for kind in (*CAPACITIES, "model", "lookup", "eagle3", "hybrid", "adaptive", "dynamic")
    for policy in POLICIES
    for gamma in range(1, 9)
    for length in (("fixed", "confident", "adapt") if kind not in ("lookup", "adaptive", "dynamic") else ("fixed",))
    + (("tree",) if kind in ("eagle3", "hybrid") else ())
    for trimmed in ((False, True) if kind != "lookup" else (False,))
]


def check(kind, policy, gamma, length, trimmed, generations=200_000, batch=ROWS):
    if POLICIES[policy].greedy:
        generations = min(generations, batch, 500)  # they are all alike
    probability = exact(POLICIES[policy])
    observed = counts(drafter_of(kind, length, trimmed), POLICIES[policy], gamma, generations, batch=batch)
    assert p_value(observed, probability) > 0.001


@pytest.mark.parametrize(("kind", "policy", "gamma", "length", "trimmed"), COVERING)
def test_the_loop_samples_from_the_target(kind, policy, gamma, length, trimmed):
    # the mistakes below are caught with as many and p < 1e-6; `exhaustive` has 200,000
    check(kind, policy, gamma, length, trimmed, generations=10_000 if length == "tree" else 15_000)


@pytest.mark.parametrize(
    ("kind", "policy", "gamma", "trimmed"),
    [("adaptive", "t1", 4, False), ("adaptive", "t0.7", 3, True), ("dynamic", "t0.7", 4, True)],
)
def test_tokens_that_leave_at_several_heads_sample_from_the_target(kind, policy, gamma, trimmed):
    check(kind, policy, gamma, "fixed", trimmed, generations=15_000)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("kind", ["head_block", "lookup", "eagle3", "hybrid"])
def test_small_batches_sample_from_the_target_too(kind, batch):
    check(kind, "t1", 3, "fixed", False, generations=300 * batch, batch=batch)


@pytest.mark.parametrize(("kind", "batch"), [("drawn", 1), ("eagle3", 4)])
def test_small_batches_of_trees_sample_from_the_target_too(kind, batch):
    check(kind, "t1", 3, "tree", False, generations=200 * batch, batch=batch)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("kind", "policy", "gamma", "length", "trimmed"), EVERY)
def test_every_combination_samples_from_the_target(kind, policy, gamma, length, trimmed):
    check(kind, policy, gamma, length, trimmed)


@pytest.mark.exhaustive
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("kind", [*CAPACITIES, "model", "lookup", "eagle3", "hybrid", "adaptive", "dynamic"])
def test_small_batches_at_full_size(kind, batch):
    check(kind, "t0.7", 4, "fixed", False, batch=batch)


# Tests of the test: each known mistake must be caught.


def bonus_from_unwarped_p(monkeypatch):
    def broken(p, tokens, q, generator, lengths=None):
        accepted, following = accept(p, tokens, q, generator, lengths)
        bonus = accepted == tokens.shape[1]
        flat = p[:, -1] ** 0.7  # what p was before a temperature of 0.7, up to its norm
        return accepted, torch.where(bonus.unsqueeze(1), sample(flat, generator), following)

    monkeypatch.setattr(loop, "accept", broken)


def residual_not_renormalised(monkeypatch):
    def broken(weights, generator):
        uniform = torch.rand((len(weights), 1), generator=generator, dtype=torch.float64)
        return torch.searchsorted(weights.double().cumsum(-1), uniform).clamp(max=VOCAB - 1)

    monkeypatch.setattr("selfdraft.decoding.accept.sample", broken)


def q_of_another_temperature(monkeypatch):
    def broken(p, tokens, q, generator, lengths=None):
        hotter = None if q is None else torch.softmax(q.log() / 2, dim=-1)
        return accept(p, tokens, hotter, generator, lengths)

    monkeypatch.setattr(loop, "accept", broken)


def bonus_one_position_off(monkeypatch):
    def broken(p, tokens, q, generator, lengths=None):
        accepted, following = accept(p, tokens, q, generator, lengths)
        bonus = accepted == tokens.shape[1]
        before = p[:, max(0, tokens.shape[1] - 1)]
        return accepted, torch.where(bonus.unsqueeze(1), sample(before, generator), following)

    monkeypatch.setattr(loop, "accept", broken)


def drafted_greedily_verified_as_sampled(monkeypatch):
    original = Policy.draw

    def broken(self, logits, generator):
        _, probabilities = original(self, logits, generator)
        return logits.argmax(-1, keepdim=True), probabilities

    monkeypatch.setattr(Policy, "draw", broken)


def cache_not_rolled_back(monkeypatch):
    commit, prepare = Session.commit, Session.__init__

    def roomy(self, target, prompts, room, depths=(), prefill=None, spare=0):
        prepare(self, target, prompts, room + 64, depths, prefill, spare)

    def broken(self, accepted, next_token, new):
        width = sum(tokens.shape[1] for tokens in self.held())
        commit(self, accepted, next_token, new)
        for row, tokens in enumerate(new):
            if tokens:
                self.lengths[row] += width - len(tokens)

    monkeypatch.setattr(Session, "__init__", roomy)
    monkeypatch.setattr(Session, "commit", broken)


MUTATED = Policy("t0.7", 0.7)


def test_the_rule_that_is_broken_below_is_right_before():
    assert p_value(counts(drafter_of("head"), MUTATED, 2, 15_000), exact(MUTATED)) > 0.001


@pytest.mark.parametrize(
    "mutation",
    [
        bonus_from_unwarped_p,
        residual_not_renormalised,
        q_of_another_temperature,
        bonus_one_position_off,
        drafted_greedily_verified_as_sampled,
        cache_not_rolled_back,
    ],
    ids=lambda mutation: mutation.__name__,
)
def test_a_broken_rule_is_caught(mutation, monkeypatch):
    probability = exact(MUTATED)
    mutation(monkeypatch)
    assert p_value(counts(drafter_of("head"), MUTATED, 2, 15_000), probability) < 1e-6


def sibling_residual_not_renormalised(monkeypatch):
    monkeypatch.setattr(accept_tree, "residual", lambda p, q: (p - q).clamp(min=0))


def drawn_with_replacement_verified_as_without(monkeypatch):
    made = Branching.__init__

    def broken(self, *given):
        made(self, *given)
        self.replacing = True

    monkeypatch.setattr(Branching, "__init__", broken)


def q_not_renormalised_over_remaining_siblings(monkeypatch):
    monkeypatch.setattr(Branching, "normed", lambda self, q: q)


def a_node_sees_its_siblings(monkeypatch):
    def causal(parents):
        width = parents.shape[1] + 1
        return torch.ones((width, width), dtype=torch.bool).tril().expand(len(parents), -1, -1)

    monkeypatch.setattr("selfdraft.decoding.session.sees", causal)


def wrong_path_compacted(monkeypatch):
    move = KVCache.move
    monkeypatch.setattr(KVCache, "move", lambda self, sources, goals: move(self, sources - 1, goals))


def nothing_compacted(monkeypatch):
    monkeypatch.setattr(KVCache, "move", lambda self, sources, goals: None)


def tried_in_another_order(monkeypatch):
    """Siblings that were drawn are no longer independent of those before them: their order is part of q."""
    taken = accept_tree._one_by_one

    def broken(p, tokens, parents, q, generator, counts):
        back = torch.arange(tokens.shape[1]).flip(0)
        made, left = taken(p, tokens[:, back], parents[:, back], q[:, back], generator, counts[:, back])
        return made[:, back], left

    monkeypatch.setattr(accept_tree, "_one_by_one", broken)


@pytest.mark.parametrize(
    "mutation",
    [
        sibling_residual_not_renormalised,
        drawn_with_replacement_verified_as_without,
        q_not_renormalised_over_remaining_siblings,
        tried_in_another_order,
        a_node_sees_its_siblings,
        wrong_path_compacted,
        nothing_compacted,
    ],
    ids=lambda mutation: mutation.__name__,
)
def test_a_broken_tree_is_caught(mutation, monkeypatch):
    policy = POLICIES["t1"]
    mutation(monkeypatch)
    assert p_value(counts(drafter_of("drawn"), policy, 3, 10_000), exact(policy)) < 1e-6
