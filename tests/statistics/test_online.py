"""online.csv: intervals over seeds and prompts hold what they say, lines are what differs in the seed alone."""

import csv
import json

import numpy as np
import pytest
from online_runs import STREAM, write_run, write_runs

from selfdraft.cli import main
from selfdraft.statistics.bootstrap import Estimate
from selfdraft.statistics.online import break_even, crossed, over_seeds


def table(tmp_path, folders):
    out = tmp_path / "online.csv"
    assert main(["online", "--runs", *map(str, folders), "--commit", "abc", "--out", str(out)]) == 0
    return list(csv.DictReader(out.open(newline="")))


def ratio(numerators, denominators):
    return numerators / denominators


@pytest.mark.parametrize(("of_seed", "of_prompt"), [(0.3, 0.05), (0.02, 0.5), (0.15, 0.3)])
def test_an_interval_covers_the_mean_of_all_seeds_and_all_prompts(of_seed, of_prompt):
    rng, seeds, prompts, held = np.random.default_rng(0), 3, 20, 0
    for _ in range(1000):
        mean = 2 + of_seed * rng.normal(size=(seeds, 1)) + of_prompt * rng.normal(size=(1, prompts))
        accepted = 30 * (mean + 0.1 * rng.normal(size=(seeds, prompts)))
        found = crossed(ratio, [accepted, np.full((seeds, prompts), 30.0)], 0.95)
        held += found.low <= 2 <= found.high
    assert 0.925 < held / 1000 < 0.99  # 0.95; a seed's spread alone, or the prompts' alone, would hold far less


def test_without_the_spread_of_the_prompts_it_would_be_too_narrow():
    rng, held = np.random.default_rng(0), 0
    for _ in range(300):
        mean = 2 + 0.02 * rng.normal(size=(3, 1)) + 0.5 * rng.normal(size=(1, 20))
        found = over_seeds(mean.mean(axis=1).tolist(), 0.95)
        held += found.low <= 2 <= found.high
    assert held / 300 < 0.8


def test_two_seeds_and_eight_prompts_are_needed():
    one, few = np.full((1, 20), 2.0), np.full((2, 7), 2.0)
    assert crossed(ratio, [one, one], 0.95) == Estimate(1.0, note="no interval: 1 seed, 2 needed")
    assert crossed(ratio, [few, few], 0.95) == Estimate(1.0, note="no interval: 7 prompts, 8 needed")
    assert crossed(ratio, [np.ones((2, 9)), np.ones((2, 9))], 0.95) == Estimate(1.0, 1.0, 1.0)
    assert crossed(ratio, [np.ones((2, 9)), np.zeros((2, 9))], 0.95) == Estimate()


def test_rows_are_a_line_an_objective_of_all_seeds(tmp_path):
    rows = table(tmp_path, write_runs(tmp_path))
    looks = [row for row in rows if row["part"] == "held_out"]
    assert [(row["learner"], row["prompts"]) for row in looks] == [
        (name, at) for name in ("composite", "none") for at in ("0", "10", "20", "30")
    ]
    assert {(row["seeds"], row["lossless_against"], row["commit"]) for row in looks} == {("3", "base", "abc")}
    last, frozen = looks[3], looks[7]
    runs = [json.loads((tmp_path / f"composite{seed}/results.json").read_text()) for seed in range(3)]
    means = [
        sum(a for a, _ in run["evaluations"][3]["by_prompt"].values()) / 240 for run in runs
    ]  # fmt: skip
    assert float(last["accepted_mean"]) == pytest.approx(np.mean(means))
    assert float(last["gain_low"]) > 0
    assert float(frozen["gain_low"]) < 0 < float(frozen["gain_high"])
    beside = runs[0]["beside"][0]["by_prompt"].values()
    assert float(last["over_trained"]) == pytest.approx(np.mean(means) - sum(a for a, _ in beside) / 240)
    # a token took 10.1 ms, then 8.6; 1.5 s of learning
    assert float(last["saved_ms"]) == pytest.approx(1.5)
    assert float(last["break_even_tokens"]) == pytest.approx(1000)
    assert float(last["learning_of_decoding"]) == pytest.approx(0.125)
    (exit_,) = (row for row in rows if row["part"] == "beside")
    assert (exit_["learner"], exit_["tokens"], exit_["learning_s"]) == ("layer14_T1.0_translator", "4000", "9.5")
    assert float(exit_["accepted_mean_low"]) < float(exit_["accepted_mean"]) < float(exit_["accepted_mean_high"])


def test_the_noise_of_its_gradients_is_that_since_the_look_before(tmp_path):
    """Three updates between two looks: 12 / 3 is the squared norm; the variances are (3, 4, 5) · (1, 3, 5) / 3."""
    looks = [row for row in table(tmp_path, write_runs(tmp_path)) if row["part"] == "held_out"][:4]
    assert [row["gradient_noise"] for row in looks[:1]] == [""]
    assert [float(row["gradient_noise"]) for row in looks[1:]] == pytest.approx([1 / 3, 1, 5 / 3])
    assert [float(row["gradient_variance"]) for row in looks[1:]] == pytest.approx([4 / 3, 4, 20 / 3])
    assert float(looks[1]["gradient_noise_low"]) < 1 / 3 < float(looks[1]["gradient_noise_high"])
    assert {row["buffer_bytes"] for row in looks} == {"9000"}


@pytest.mark.parametrize(
    ("part", "trained", "between"),
    [
        ("equal_data", (90, 9.5), (1, 2, 0.5)),  # looks after 60 and 120 tokens
        ("equal_data", (120, 9.5), (1, 2, 1.0)),
        ("equal_seconds", (4000, 0.125), (0, 1, 0.25)),  # after 0 and 0.5 s of learning
    ],
)
def test_at_equal_budgets_it_stands_beside_the_exit_that_was_trained_before(tmp_path, part, trained, between):
    folders = write_runs(tmp_path, trained=trained)
    rows = [row for row in table(tmp_path, folders) if row["part"] == part]
    assert [row["learner"] for row in rows] == ["composite", "none"]
    runs = [json.loads((tmp_path / f"composite{seed}/results.json").read_text()) for seed in range(3)]
    first, second, share = between

    def accepted(by_prompt):
        return sum(a for a, _ in by_prompt.values()) / sum(c for _, c in by_prompt.values())

    found = [[accepted(look["by_prompt"]) for look in run["evaluations"]] for run in runs]
    mean = np.mean([(1 - share) * each[first] + share * each[second] for each in found])
    assert float(rows[0]["accepted_mean"]) == pytest.approx(mean)
    beside = accepted(runs[0]["beside"][0]["by_prompt"])
    assert float(rows[0]["over_trained"]) == pytest.approx(mean - beside)
    assert float(rows[0]["over_trained_low"]) < mean - beside < float(rows[0]["over_trained_high"])
    seen = [[run["evaluations"][place]["prompts"] for place in (first, second)] for run in runs]
    assert float(rows[0]["prompts"]) == pytest.approx(np.mean([(1 - share) * a + share * b for a, b in seen]))
    assert float(rows[0]["tokens" if part == "equal_data" else "learning_s"]) in trained


def test_a_budget_that_was_not_reached_is_told(tmp_path):
    rows = [row for row in table(tmp_path, write_runs(tmp_path)) if row["part"].startswith("equal")]
    assert [(row["part"], row["over_trained"], row["interval_note"]) for row in rows[:2]] == [
        ("equal_data", "", "no estimate: a run ended at 180"),
        ("equal_seconds", "", "no estimate: a run ended at 1.5"),
    ]


def test_a_stream_has_ten_pieces_of_each_data_set(tmp_path):
    rows = [row for row in table(tmp_path, write_runs(tmp_path)) if row["part"] == "stream"]
    ours = [row for row in rows if row["learner"] == "composite"]
    assert [row["prompts"] for row in ours] == [str(n) for n in [*range(2, 21, 2), *range(21, 31)]]
    assert [row["dataset"] for row in ours] == ["chats"] * 10 + ["code"] * 10


def test_what_else_differs_stands_in_the_name(tmp_path):
    folders = [write_run(tmp_path / "a"), write_run(tmp_path / "b", draft="sample"), write_run(tmp_path / "c", "kl")]
    names = list(dict.fromkeys(row["learner"] for row in table(tmp_path, folders)))
    assert names == ["composite, draft argmax", "composite, draft sample", "kl, draft argmax"]


def test_lines_are_told_from_those_of_such_a_stream_alone(tmp_path):
    chats = STREAM[:1]
    folders = [
        write_run(tmp_path / "a", stream=chats, fast_batch=8),
        write_run(tmp_path / "b", "kl", stream=chats, fast_batch=8),
        write_run(tmp_path / "c", fast_batch=4),
    ]
    names = list(dict.fromkeys(row["learner"] for row in table(tmp_path, folders)))
    assert names == ["composite", "kl", "composite, then code"]


def test_a_break_even_that_is_never_reached_is_empty():
    assert break_even(100.0, Estimate(-1.0, -2.0, 4.0)) == Estimate(None, 25.0, None)
    assert break_even(100.0, Estimate(2.0, 1.0, 4.0)) == Estimate(50.0, 25.0, 100.0)


def test_what_cannot_be_is_one_line(tmp_path, capsys):
    first, twice = write_run(tmp_path / "a"), write_run(tmp_path / "b")
    other = write_run(tmp_path / "c", seed=1, prompts=11)
    (tmp_path / "d").mkdir()
    for name in ("config", "results"):
        (tmp_path / f"d/{name}.json").write_text("{}")
    for folders, message in (
        ([first, twice], f"{twice}: seed 0 stands twice among runs of one line"),
        ([first, other], f"{other}: other held-out prompts than {first} has"),
        ([tmp_path / "d"], f"{tmp_path}/d: no draft of `selfdraft dvi`"),
        ([tmp_path / "e"], f"{tmp_path}/e/config.json: file not found"),
    ):
        assert main(["online", "--runs", *map(str, folders), "--out", str(tmp_path / "o.csv")]) == 2
        assert capsys.readouterr().err.strip() == f"selfdraft online: error: {message}"


def test_what_a_shared_verifier_has_drifted_stands_in_each_look(tmp_path):
    folders = [write_run(tmp_path / f"s{seed}", seed=seed, share="shared") for seed in range(2)]
    for seed, folder in enumerate(folders):
        results = json.loads((folder / "results.json").read_text())
        for at, look in enumerate(results["evaluations"]):
            look["by_conversation"] = {f"c{i}": [10, 0.1 * at * (1 + seed), 20 + i] for i in range(9)}
        (folder / "results.json").write_text(json.dumps(results))
    looks = [row for row in table(tmp_path, folders) if row["part"] == "held_out"]
    assert [float(row["drift_kl"]) for row in looks] == pytest.approx([0, 0.015, 0.03, 0.045])
    assert [float(row["perplexity"]) for row in looks] == pytest.approx([np.exp(2.4)] * 4)
    assert float(looks[-1]["drift_kl_low"]) < 0.045 < float(looks[-1]["drift_kl_high"])
    plain = table(tmp_path, [write_run(tmp_path / f"h{seed}", seed=seed) for seed in range(2)])
    assert {row["drift_kl"] for row in plain} == {""}
