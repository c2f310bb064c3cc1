"""Predictions for another machine: the cost model's own numbers, for lengths that were run and for others."""

import json

import pandas as pd
import pytest

from selfdraft.cli import main
from selfdraft.statistics.bootstrap import Bootstrap
from selfdraft.statistics.columns import LATER_NUMBERS, RAW_COLUMNS
from selfdraft.statistics.cost_model import expected_accepted
from selfdraft.statistics.predictions import best_of, predictions, source_of
from selfdraft.statistics.raw_tables import read_raw
from selfdraft.statistics.step_files import read_steps

DRAFT = {"drafter": "early_exit", "layer": "2", "T": "1.0", "capacity": "head", "objective": "kl", "seed": "0"}
POINT = DRAFT | {"policy": "greedy", "dataset": "chats", "drafting": "fixed"}


def cycle(prompt, number, drafted, accepted, gamma=4, **settings):
    return POINT | {
        **{"gamma": gamma, "prompt": prompt, "cycle": number, "drafted": drafted, "accepted": accepted},
        **{"overlap_sum": "", "new_tokens": accepted + 1, "cut": 0, "identical": "", "dtype": "float32"},
        **settings,
    }


def step(kind, tokens, seconds, **settings):
    return POINT | {
        **{"gamma": 4, "step": kind, "context": 100, "tokens": tokens, "round": 0, "seconds": seconds},
        **{"dtype": "float32", "threads": 2, "device": "cpu"},
        **settings,
    }


# One vanilla step takes 10 ms, a drafted token 2 ms, a verification 10 ms and 1 ms more a further token.
STEPS = [
    step("vanilla", 1, 0.010, drafter="vanilla"),
    step("draft", 4, 0.008),
    step("verify", 1, 0.010),
    step("verify", 5, 0.014),
    step("verify", 9, 0.018, gamma=8),
]
# In each prompt 4, 4, 3 and 1 of 4 are accepted: accept_at_4 is 2/3.
ACCEPTED = [cycle(f"p{p}", n, 4, accepted) for p in range(10) for n, accepted in enumerate((4, 4, 3, 1))]


@pytest.fixture
def files(tmp_path):
    def written(cycles=ACCEPTED, steps=STEPS):
        acceptance, table = tmp_path / "acceptance.csv", tmp_path / "steps.json"
        later = [name for name in LATER_NUMBERS["acceptance"] if name in cycles[0]]
        pd.DataFrame(cycles)[[*RAW_COLUMNS["acceptance"], *later]].to_csv(acceptance, index=False)
        table.write_text(json.dumps({"machine": {}, "steps": steps}))
        return acceptance, table

    return written


def told(files, gammas, context=100.0, **changes):
    acceptance, steps = files(**changes)
    return predictions(read_raw(acceptance, "acceptance"), read_steps(steps), gammas, context, Bootstrap(resamples=99))


def test_exact_values_of_lengths_that_were_run_and_of_others(files):
    found, missing = told(files, [2, 6])
    by_gamma = {one.gamma: one for one in found}
    assert missing == []
    assert {gamma: one.how for gamma, one in by_gamma.items()} == {2: "shortened", 4: "run", 6: "extended"}
    assert by_gamma[4].accepted_mean.value == pytest.approx(3.0)
    assert by_gamma[4].speedup.value == pytest.approx(4.0 * 10 / (4 * 2 + 14))
    # 2, 2, 2 and 1 of 2
    assert by_gamma[2].accepted_mean.value == pytest.approx(7 / 4)
    assert by_gamma[2].speedup.value == pytest.approx((7 / 4 + 1) * 10 / (2 * 2 + 12))
    # every second cycle goes on, and accepts 2/3 + 4/9 more
    longer = 3.0 + 0.5 * expected_accepted(2 / 3, 2)
    assert by_gamma[6].accepted_mean.value == pytest.approx(longer)
    assert by_gamma[6].speedup.value == pytest.approx((longer + 1) * 10 / (6 * 2 + 16))
    assert found == sorted(found, key=lambda one: -one.speedup.value)
    assert by_gamma[4].speedup.low == by_gamma[4].speedup.high == by_gamma[4].speedup.value  # all prompts are alike
    assert best_of(found) == {("greedy", "chats"): found[0]}
    assert found[0].verdict == "pays"


def test_a_longer_draft_is_told_from_the_longest_a_shorter_one_from_the_next():
    assert [source_of(gamma, [2, 4, 8]) for gamma in (1, 2, 3, 5, 8, 9)] == [2, 2, 4, 8, 8, 8]


def test_the_context_is_interpolated(files):
    far = [row | {"context": 300, "seconds": 2 * row["seconds"]} for row in STEPS if row["step"] != "draft"]
    found, _ = told(files, [], context=200.0, steps=STEPS + far)
    assert found[0].speedup.value == pytest.approx(4.0 * 15 / (4 * 2 + 21))


def test_drafts_that_end_themselves_are_not_extended(files):
    own = [row | {"drafted": 3, "accepted": 1} if row["cycle"] == 3 else row for row in ACCEPTED]
    found, _ = told(files, [2, 6], cycles=own)
    assert {one.gamma for one in found} == {2, 4}


def test_what_a_hybrid_finds_in_the_text_costs_what_lookup_takes(files):
    cycles = [row | {"looked_up": int(row["cycle"] < 2)} for row in ACCEPTED]  # those with all 4 accepted
    lookup = step("lookup", 4, 0.0004)
    found, _ = told(files, [], cycles=cycles, steps=[*STEPS, lookup])
    seconds = (2 * 0.0004 + 2 * 0.008) / 4 + 0.014
    assert found[0].speedup.value == pytest.approx(4 * 0.010 / seconds)
    found, _ = told(files, [], steps=[*STEPS, lookup])  # a table from before: nothing was looked up
    assert found[0].speedup.value == pytest.approx(4 * 0.010 / 0.022)


def test_a_slow_draft_does_not_pay_and_a_draft_without_steps_is_named(files):
    slow = [row | {"seconds": 0.4} if row["step"] == "draft" else row for row in STEPS]
    other = [row | {"capacity": "norm"} for row in ACCEPTED]
    found, missing = told(files, [], cycles=ACCEPTED + other, steps=slow)
    assert [one.verdict for one in found] == ["does not pay"]
    assert missing == ["early_exit 2 norm fixed greedy"]


def test_the_command_writes_a_table_and_a_figure_and_names_the_best(files, tmp_path, capsys):
    acceptance, steps = files()
    words = ["--acceptance", str(acceptance), "--steps", str(steps), "--out-dir", str(tmp_path / "out")]
    assert main(["predict", *words, "--gammas", "2", "6", "--settings", '{"resamples": 99}']) == 0
    table = pd.read_csv(tmp_path / "out/prediction.csv")
    assert sorted(table["gamma"]) == [2, 4, 6]
    assert table["predicted_speedup"].max() == pytest.approx(40 / 22)
    assert (tmp_path / "out/prediction.pdf").is_file()
    assert "best, greedy: early_exit layer 2 head T 1.0, gamma 4: 1.82 times vanilla; pays" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([], "steps: a list of steps is right"),
        ([STEPS[0], STEPS[1] | {"threads": 1}], "column threads: '1', '2'"),
        ([STEPS[0]], "has no steps of any draft"),
    ],
)
def test_steps_that_tell_nothing_are_one_clear_line(files, tmp_path, capsys, steps, message):
    acceptance, table = files(steps=steps)
    assert main(["predict", "--acceptance", str(acceptance), "--steps", str(table), "--out-dir", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_policies_may_have_been_timed_with_different_numbers_of_threads(files):
    other = [step | {"policy": "t0.7", "threads": 1} for step in STEPS]
    _, table = files(steps=[*STEPS, *other])
    assert set(read_steps(table).groupby("policy")["threads"].nunique()) == {1}
