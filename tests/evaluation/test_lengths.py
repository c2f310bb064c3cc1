"""Whole answers of several lengths: what stands beside what, how many tokens, and what is refused before any run."""

import pytest
from tiny_llama import perturbed_exit, tiny_llama

from selfdraft.decoding.loop import speculate
from selfdraft.decoding.policy import Policy
from selfdraft.drafters.exit import ExitDrafter
from selfdraft.drafters.lookup import LookupDrafter
from selfdraft.errors import StudyError
from selfdraft.evaluation import disturbance
from selfdraft.evaluation.lengths import COLUMNS, check_context, check_lengths, length_rows
from selfdraft.evaluation.rows import write_rows
from selfdraft.evaluation.speed import Patience
from selfdraft.sequences import Prompt
from selfdraft.statistics.bootstrap import Bootstrap
from selfdraft.statistics.side_tables import lengths_table

GREEDY, ONCE = Policy("greedy"), Patience(attempts=1)
LENGTHS = [1, 5, 9]


def prompts(count=3):
    return [Prompt(f"p{i}", "", tuple((3 * i + j) % 61 for j in range(3 + i)), "") for i in range(count)]


def points(target):
    exit_ = ExitDrafter(target, perturbed_exit(target, 1, "head"))
    return [
        (drafter, gamma, {"drafter": name, "gamma": gamma, "dataset": "d", "drafting": "fixed"})
        for name, drafter, gamma in (("early_exit", exit_, 3), ("lookup", LookupDrafter(2), 2))
    ]


@pytest.fixture(scope="module")
def timed():
    target = tiny_llama()
    drafters = points(target)
    return target, drafters, list(length_rows(target, drafters, prompts(), GREEDY, LENGTHS, 0, ONCE))


def test_the_same_prompts_are_answered_whole_at_each_length(timed):
    target, drafters, rows = timed
    assert len(rows) == len(LENGTHS) * 3 * 3
    tokens = {prompt.id: list(prompt.tokens) for prompt in prompts()}
    known = {settings["drafter"]: (drafter, gamma) for drafter, gamma, settings in drafters}
    for row in rows:
        assert row["decode_s"] > 0 < row["prefill_s"]
        if row["method"] == "vanilla":
            assert row["new_tokens"] == row["target_calls"] == row["length"]
            continue
        assert row["length"] <= row["new_tokens"] == row["accepted"] + row["cycles"] <= row["length"] + row["gamma"]
        drafter, gamma = known[row["drafter"]]
        alone = speculate(target, drafter, [tokens[row["prompt"]]], GREEDY, gamma, row["length"], None, whole=True)
        assert (row["target_calls"], row["new_tokens"]) == (len(alone.cycles), len(alone.tokens[0]))
    for length in LENGTHS:
        assert {row["prompt"] for row in rows if row["length"] == length} == set(tokens)


def test_two_drafts_stand_around_a_vanilla_run_of_the_same_prompt_and_length(timed):
    rows = timed[2]
    blocks = {}
    for row in rows:
        blocks.setdefault((row["prompt"], row["length"], row["pair"]), []).append(row["drafter"])
    assert len(blocks) == 9
    assert all(len(block) == 3 and block[1] == "vanilla" for block in blocks.values())
    assert len({block[0] for block in blocks.values()}) == 2  # now the one comes first, now the other


def test_the_rows_make_the_table_of_both_drafters(timed, tmp_path):
    write_rows(tmp_path / "raw.csv", COLUMNS, timed[2])
    _, made = lengths_table(tmp_path / "raw.csv", Bootstrap(20))
    assert sorted((row["drafter"], row["length"]) for row in made) == [
        (name, str(length)) for name in ("early_exit", "lookup") for length in LENGTHS
    ]
    assert all(row["vanilla_calls_per_token"] == "1" and float(row["speedup"]) > 0 for row in made)


def test_disturbed_runs_are_timed_again_at_their_own_length(monkeypatch):
    target = tiny_llama()
    judged = set()

    def disturbed(row, quiet):
        """The vanilla runs of one length, the first time that they are looked at."""
        before = id(row) in judged
        judged.add(id(row))
        return row["method"] == "vanilla" and row["new_tokens"] == 5 and not before

    monkeypatch.setattr(disturbance, "is_disturbed", disturbed)
    rows = list(length_rows(target, points(target)[1:], prompts(2), GREEDY, LENGTHS, 0, Patience(2, 1.0)))
    assert {row["length"] for row in rows if row["attempts"] == 2} == {5}
    assert all(row["new_tokens"] == row["length"] for row in rows if row["method"] == "vanilla")


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([0, 5], "--lengths: 0 is not ≥ 1"),
        ([5, -2], "--lengths: -2 is not ≥ 1"),
        ([9, 5], "--lengths: found 9 5, ascending lengths without repeats are right"),
        ([5, 5], "--lengths: found 5 5, ascending lengths without repeats are right"),
    ],
)
def test_lengths_ascend_from_one(lengths, message):
    with pytest.raises(StudyError) as error:
        check_lengths(lengths, "--lengths")
    assert str(error.value) == message


def test_the_longest_answer_must_fit_behind_the_longest_prompt():
    check_context(prompts(), 90, 4, 99, "--lengths")
    with pytest.raises(
        StudyError, match=r"--lengths: 91 does not fit into the target's context of 99; 90 is the longest"
    ):
        check_context(prompts(), 91, 4, 99, "--lengths")
