"""Timed runs: what stands beside what, what is counted beside each, and what other work on the machine does to them."""

import itertools
import re

import pytest
import torch
from tiny_llama import moved_eagle3, perturbed_exit, tiny_llama

from selfdraft.decoding.drafting import Tree
from selfdraft.decoding.loop import speculate, vanilla
from selfdraft.decoding.policy import Policy
from selfdraft.decoding.prefill import Prefill
from selfdraft.drafters.eagle3 import Eagle3Drafter
from selfdraft.drafters.exit import ExitDrafter
from selfdraft.drafters.lookup import LookupDrafter
from selfdraft.evaluation import disturbance, speed
from selfdraft.evaluation.disturbance import Counters, is_disturbed, quiet_reference
from selfdraft.evaluation.rows import write_rows
from selfdraft.evaluation.speed import COLUMNS, Patience, blocks_of, speed_rows, told_of
from selfdraft.evaluation.steps import room_of, step_rows
from selfdraft.models.graphs import Replays
from selfdraft.sequences import Prompt

GREEDY, WARM = Policy("greedy"), Policy("warm", 0.8)
SETTINGS = {"drafter": "early_exit", "layer": 1, "dataset": "d"}
ONCE = Patience(attempts=1)


class StandIn:
    """What a captured graph does to memory, without a GPU."""

    def __init__(self, function, *inputs):
        self.function, self.inputs = function, tuple(tensor.clone() for tensor in inputs)

    def __call__(self, *inputs):
        for mine, given in zip(self.inputs, inputs, strict=True):
            mine.copy_(given)
        return self.function(*self.inputs)


def prompts(count=3, length=3):
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randint(0, 61, (length + i,), generator=generator).tolist() for i in range(count)]
    return [Prompt(f"p{i}", f"o{i}", tuple(row), "") for i, row in enumerate(rows)]


def points(target, gammas=(2, 4, 3)):
    head, block = (ExitDrafter(target, perturbed_exit(target, 1, name)) for name in ("head", "head_block"))
    drafters = zip((head, block, LookupDrafter(2)), gammas, strict=True)
    return [
        (drafter, gamma, SETTINGS | {"gamma": gamma, "drafting": str(n)}) for n, (drafter, gamma) in enumerate(drafters)
    ]


@pytest.mark.parametrize("policy", [GREEDY, WARM], ids=lambda policy: policy.name)
@pytest.mark.parametrize("capacity", ["head", "head_block"])
def test_many_generations_start_from_one_reading_of_a_prompt(policy, capacity):
    """Also behind a stretch of the answer: token for token what a reading of their own gives."""
    target = tiny_llama()
    drafter = ExitDrafter(target, perturbed_exit(target, 1, capacity))
    start = Prefill(target, [[3, 1, 4, 1, 5]], 40, drafter.depths)
    for _ in range(3):
        prompt, generator = [list(start.prompts[0])], torch.Generator()
        alone = speculate(target, drafter, prompt, policy, 3, 9, generator.manual_seed(2), whole=True)
        for _ in range(2):
            found = speculate(
                target, drafter, prompt, policy, 3, 9, generator.manual_seed(2), prefill=start, whole=True
            )
            assert found.tokens == alone.tokens
        plain = vanilla(target, prompt, policy, 9, generator.manual_seed(2)).tokens
        assert vanilla(target, prompt, policy, 9, generator.manual_seed(2), prefill=start).tokens == plain
        start.extend(plain[0])


def test_whole_cycles_are_never_cut_short():
    target = tiny_llama()
    drafter = ExitDrafter(target, perturbed_exit(target, 1, "head_block"))
    result = speculate(target, drafter, [[1, 2, 3]], GREEDY, 4, 11, torch.Generator(), whole=True)
    assert {(cycle.drafted, cycle.cut) for cycle in result.cycles} == {(4, False)}
    assert 11 <= len(result.tokens[0]) == sum(cycle.accepted + 1 for cycle in result.cycles) < 11 + 5
    assert result.tokens[0][:11] == vanilla(target, [[1, 2, 3]], GREEDY, 11, torch.Generator()).tokens[0]


def test_every_draft_runs_beside_a_vanilla_run_of_the_same_stretch(tmp_path):
    target = tiny_llama()
    rows = list(speed_rows(target, points(target), None, prompts(), GREEDY, 7, 2, 0, ONCE))
    assert len(rows) == 3 * 2 * (3 + 2)
    for row in rows:
        assert row["decode_s"] > 0
        assert row["cpu_s"] > 0
        assert row["reference_before_s"] > 0
        assert row["waits"] == (row["cycles"] if row["method"] == "speculative" else row["new_tokens"])
        if row["method"] == "speculative":
            assert 7 <= row["accepted"] + row["cycles"] == row["new_tokens"] <= 7 + row["gamma"]
            assert 0 < row["draft_s"] + row["verify_s"] + row["accept_s"] < row["decode_s"]
    key = ("prompt", "repeat", "pair")
    for _, block in itertools.groupby(rows, lambda row: tuple(row[name] for name in key)):
        methods = [row["method"] for row in block]
        assert methods in (["speculative", "vanilla", "speculative"], ["speculative", "vanilla"])
    later = {row["context"] for row in rows if row["method"] == "vanilla" and row["prompt"] == "p0"}
    assert later == {2 + 3.5, 2 + 7 + 3.5}  # the second stretch stands behind the first
    assert (
        len({tuple(row["drafting"] for row in rows if row["prompt"] == p and "cycles" in row) for p in ("p0", "p1")})
        > 1
    )
    write_rows(tmp_path / "speed.csv", COLUMNS, rows)


def test_no_timed_run_captures_a_step_and_a_cycle_waits_once():
    """Prompts of both windows, drafts whose shapes vary: whatever is captured is captured before."""
    target = tiny_llama(positions=1024)
    target.replays = Replays(target, StandIn)
    drafts = points(target)
    adaptive = ExitDrafter(target, perturbed_exit(target, 1, "head_block"), adapt=True)
    drafts.append((adaptive, 4, SETTINGS | {"gamma": 4, "drafting": "adaptive"}))
    texts = [*prompts(2, 8), *prompts(2, 250), *prompts(2, 256)]
    rows = list(speed_rows(target, drafts, None, texts, WARM, 9, 2, 0, ONCE))
    assert target.replays.captures > 10
    assert {row["captures"] for row in rows} == {0}
    assert all(row["waits"] == row["cycles"] for row in rows if row["method"] == "speculative")


def row(wait=0.0, before=1.0, after=1.0, cpu=1.9):
    return {"wait_s": wait, "cpu_s": cpu, "decode_s": 1.0, "reference_before_s": before, "reference_after_s": after}


def test_a_run_is_disturbed_by_waiting_and_by_slow_neighbours():
    assert quiet_reference([1.0] * 3 + [2.0] * 7) == 1.0
    assert not is_disturbed(row(wait=0.09, before=1.2), 1.0)  # of two threads, each 0.045 of its second
    assert is_disturbed(row(wait=0.11), 1.0)
    assert is_disturbed(row(wait=0.06, cpu=0.94), 1.0)  # of one
    assert is_disturbed(row(before=1.4), 1.0)
    assert is_disturbed(row(after=1.4), 1.0)
    assert not is_disturbed(row(wait=None), 1.0)


def test_what_the_system_counts_grows_with_work():
    before = Counters.now()
    sum(number * number for number in range(300_000))
    used = Counters.now().since(before)
    assert used["cpu_s"] > 0
    assert all(used[name] is None or used[name] >= 0 for name in ("wait_s", "pressure_s", "switches"))


class Machine:
    """A machine with moods of its own: which readings of the counters find that the process had to wait."""

    def __init__(self, monkeypatch, bad):
        self.bad, self.readings, self.waited = bad, 0, 0.0
        monkeypatch.setattr(disturbance, "_waited", self.read)
        monkeypatch.setattr(disturbance, "SLOWED", 1e9)  # the real machine's moods do not count here
        monkeypatch.setattr(speed.disturbance, "SLOWED", 1e9)

    def read(self):
        self.readings += 1
        if self.readings % 2 == 0 and self.bad(self.readings // 2 - 1):  # behind a run
            self.waited += 100.0
        return self.waited


def timed(patience, say=lambda line: None):
    target = tiny_llama()
    return list(speed_rows(target, points(target)[:2], None, prompts(2), GREEDY, 3, 2, 0, patience, say))


def test_a_disturbed_run_is_timed_again_with_its_neighbours(monkeypatch):
    Machine(monkeypatch, bad=lambda run: run == 4)  # 12 runs: three in each of four blocks
    said = []
    rows = timed(Patience(attempts=3), said.append)
    again = [row for row in rows if row["attempts"] == 2]
    assert len(again) == 3
    assert len({(row["prompt"], row["repeat"], row["pair"]) for row in again}) == 1
    assert not any(row["disturbed"] for row in rows)
    assert told_of(rows) == "12 timed runs, 3 of them timed again, 0 disturbed by other work on the machine"
    first, second, more = said
    assert re.fullmatch(r"speed greedy: prompt 1 of 2, \d+ s left", first)
    assert second == "speed greedy: prompt 2 of 2, 0 s left"
    assert re.fullmatch(r"speed greedy: disturbed runs again, round 1: prompt [12] of 2", more)


def test_what_stays_disturbed_is_marked_when_the_attempts_or_the_minutes_are_over(monkeypatch):
    Machine(monkeypatch, bad=lambda run: True)
    rows = timed(Patience(attempts=3))
    assert {(row["disturbed"], row["attempts"]) for row in rows} == {(1, 3)}
    Machine(monkeypatch, bad=lambda run: True)
    rows = timed(Patience(attempts=3, minutes=0.0))
    assert {(row["disturbed"], row["attempts"]) for row in rows} == {(1, 1)}
    assert "12 disturbed" in told_of(rows)


def test_blocks_have_an_order_of_their_prompt_and_stretch_alone():
    found = [
        [block.methods for block in blocks_of(prompt, repeat, [1, 2, 3], [4], 0)]
        for prompt in prompts(4)
        for repeat in (0, 1)
    ]
    assert found == [[b.methods for b in blocks_of(p, r, [1, 2, 3], [4], 0)] for p in prompts(4) for r in (0, 1)]
    assert len({str(methods) for methods in found}) > 1
    for methods in found:
        assert sorted(method for block in methods for method in block if method) == [1, 2, 3, 4]
        assert all(block.count(0) == 1 for block in methods)


def test_steps_of_full_length_are_timed_at_each_context():
    target = tiny_llama()
    chosen = points(target)
    rows = list(step_rows(target, chosen, list(range(61)), WARM, [10, 40], 2, 0))
    assert all(row["seconds"] > 0 for row in rows)
    for _, gamma, settings in chosen:
        own = [row for row in rows if row.get("drafting") == settings["drafting"]]
        found = {(row["step"], row["tokens"], row["context"]) for row in own}
        widths = [("draft", gamma), ("verify", gamma + 1), ("verify", 1)]
        assert found == {(*width, context) for width in widths for context in (10, 40)}
        assert len(own) == 2 * len(found)
    assert {row["tokens"] for row in rows if row["step"] == "vanilla"} == {1}


def test_exits_that_were_only_trained_otherwise_are_timed_once():
    target = tiny_llama()
    (drafter, gamma, settings), *_ = points(target)
    named = settings | {"drafter": "early_exit", "layer": 1, "capacity": "head", "gamma": gamma}
    chosen = [(drafter, gamma, named | {"seed": seed}) for seed in (0, 1)] + [(drafter, 1, named | {"gamma": 1})]
    rows = [row for row in step_rows(target, chosen, list(range(61)), WARM, [10], 2, 0) if row["step"] == "draft"]
    seconds = {seed: [row["seconds"] for row in rows if row.get("seed") == seed] for seed in (0, 1)}
    assert seconds[0] == seconds[1]
    assert len(seconds[0]) == 2
    assert {row["tokens"] for row in rows} == {1, gamma}


def test_steps_of_a_tree_are_those_of_all_its_nodes():
    """Near the end of the context too: the room of a tree is kept, so that none is timed smaller than it is."""
    target = tiny_llama(positions=80)
    draft = moved_eagle3(target, (1, 2, 3), torch.arange(61))
    chosen = [(Eagle3Drafter(target, draft, tree=Tree(11, 4)), 2, SETTINGS | {"gamma": 2, "drafting": "tree"})]
    rows = list(step_rows(target, chosen, list(range(61)), WARM, [80 - room_of(2, 11)], 1, 0))
    found = {(row["step"], row["tokens"]) for row in rows}
    assert found == {("vanilla", 1), ("verify", 1), ("draft", 11), ("verify", 12)}
    timed = list(speed_rows(target, chosen, None, [Prompt("p", "o", tuple(range(50)), "")], WARM, 6, 2, 0))
    assert [row["new_tokens"] >= 6 for row in timed if row["method"] == "speculative"] == [True, True]
