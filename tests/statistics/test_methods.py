"""methods.csv: the best setting of each way to draft, chosen on the study's own prompts, looked at on all."""

import csv
from pathlib import Path

import pandas as pd
import pytest

from selfdraft.cli import main
from selfdraft.statistics.methods import COLUMNS, setting_text

COMMON = {"drafter": "early_exit", "layer": "6", "T": "1.0", "capacity": "head", "objective": "kl", "seed": "0"}
COMMON |= {"policy": "greedy", "gamma": "4", "dataset": "chat", "drafting": "fixed", "trained_parameters": "576"}
LOOKUP = COMMON | dict.fromkeys(("layer", "T", "capacity", "objective", "seed", "trained_parameters"), "")
LOOKUP |= {"drafter": "lookup"}


def made(tmp_path, rows, *options):
    """The rows of methods.csv from rows of results.csv."""
    pd.DataFrame(rows).fillna("").to_csv(tmp_path / "results.csv", index=False)
    out = tmp_path / "methods.csv"
    assert main(["methods", "--results", str(tmp_path / "results.csv"), "--out", str(out), *options]) == 0
    with out.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert list(found[0]) == [*COLUMNS, "commit", "config_hash"]
    return found


def test_a_method_stands_at_its_fastest_setting_with_what_was_measured_elsewhere_of_that_setting_alone(tmp_path):
    rows = [
        COMMON | {"accepted_mean": "2.0", "speedup": "0.8"},
        COMMON | {"accepted_mean": "0.5", "speedup": "0.9", "gamma": "2", "speedup_low": "0.85", "speedup_high": "1.0"},
        COMMON | {"accepted_mean": "3.0", "dataset": "code"},
        LOOKUP | {"accepted_mean": "0.3", "speedup": "1.2"},
        LOOKUP | {"accepted_mean": "0.9", "dataset": "code"},
    ]
    found = made(tmp_path, rows)
    assert [(row["method"], row["gamma"], row["dataset"], row["accepted_mean"], row["speedup"]) for row in found] == [
        ("early_exit head", "2", "chat", "0.5", "0.9"),
        ("early_exit head", "2", "code", "", ""),
        ("lookup", "4", "chat", "0.3", "1.2"),
        ("lookup", "4", "code", "0.9", ""),
    ]
    assert {(row["chosen_by"], row["choices"]) for row in found[:2]} == {("speedup", "2")}
    assert [row["trained_parameters"] for row in found] == ["576", "576", "", ""]
    assert (found[0]["speedup_low"], found[0]["speedup_high"]) == ("0.85", "1.0")


@pytest.mark.parametrize("by", ["predicted_speedup", "accepted_mean"])
def test_without_a_measured_speed_the_prediction_chooses_and_else_the_accepted_tokens(by, tmp_path):
    rows = [COMMON | {"accepted_mean": "1", "layer": layer, by: value} for layer, value in (("6", "0.4"), ("9", "0.7"))]
    (found,) = made(tmp_path, rows)
    assert (found["layer"], found["chosen_by"], found["speedup"]) == ("9", by, "")


def test_the_best_of_several_seeds_and_the_target_itself_are_no_choice(tmp_path):
    rows = [
        COMMON | {"accepted_mean": "1", "accept_rate": "0.25", "speedup": "0.5"},
        COMMON | {"accepted_mean": "2", "accept_rate": "0.50", "speedup": "0.7", "seed": "1"},
        COMMON | {"accepted_mean": "4", "accept_rate": "1.00", "speedup": "0.97", "layer": "29"},
        COMMON | {"accepted_mean": "4", "accept_rate": "1.00", "speedup": "0.98", "layer": "29", "capacity": "norm"},
    ]
    found = {row["method"]: row for row in made(tmp_path, rows)}
    assert found["early_exit head"]["speedup"] == "0.5"
    assert found["early_exit norm"]["speedup"] == "0.98"  # it has nothing else


def test_each_policy_chooses_for_itself_and_stands_on_the_prompts_that_it_reached(tmp_path):
    rows = [
        COMMON | {"accepted_mean": "1", "speedup": "0.9"},
        COMMON | {"accepted_mean": "1", "dataset": "code"},
        COMMON | {"accepted_mean": "1", "speedup": "0.5", "policy": "warm"},
        COMMON | {"accepted_mean": "1", "speedup": "0.6", "policy": "warm", "gamma": "2"},
    ]
    found = made(tmp_path, rows)
    assert [(row["policy"], row["gamma"], row["dataset"]) for row in found] == [
        ("greedy", "4", "chat"), ("greedy", "4", "code"), ("warm", "2", "chat"),
    ]  # fmt: skip


def test_other_prompts_get_a_prediction_from_their_own_accepted_tokens(tmp_path):
    columns = ["drafter", "layer", "T", "capacity", "objective", "seed", "policy", "gamma", "dataset", "drafting"]
    point = {name: COMMON[name] for name in columns}
    cycles = [
        point | {"dataset": name, "prompt": f"p{n}", "cycle": 0, "drafted": 4, "accepted": accepted, "overlap_sum": 2,
                 "new_tokens": accepted + 1, "cut": 0, "identical": 1, "dtype": "float32"}
        for name, accepted in (("chat", 1), ("code", 3)) for n in range(9)
    ]  # fmt: skip
    run = {"context": 100, "round": 0, "dtype": "float32", "threads": 1, "device": "cpu"}
    steps = [
        dict.fromkeys(columns, "") | run | {"policy": "greedy", "step": "vanilla", "tokens": 1, "seconds": 1.0},
        point | run | {"step": "draft", "tokens": 4, "seconds": 1.0},
        point | run | {"step": "verify", "tokens": 5, "seconds": 1.0},
    ]  # fmt: skip
    for name, rows in (("acceptance", cycles), ("steps", steps)):
        pd.DataFrame(rows).to_csv(tmp_path / f"{name}.csv", index=False)
    rows = [
        COMMON | {"accepted_mean": "1", "speedup": "0.9", "predicted_speedup": "1.02"},
        COMMON | {"accepted_mean": "3", "dataset": "code"},
    ]
    both = ("--acceptance", str(tmp_path / "acceptance.csv"), "--steps", str(tmp_path / "steps.csv"))
    own, code = made(tmp_path, rows, *both, "--settings", '{"resamples": 99}')
    assert own["predicted_speedup"] == "1.02"  # as results.csv has it
    assert float(code["predicted_speedup"]) == pytest.approx((3 + 1) / 2)  # tokens a cycle, over seconds a cycle
    assert (code["speedup"], code["predicted_speedup_low"]) == ("", code["predicted_speedup"])


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([COMMON], [], "results.csv: column accepted_mean is missing; is this a results.csv?"),
        ([COMMON | {"accepted_mean": ""}], [], "results.csv: no point was decoded with"),
        ([COMMON | {"accepted_mean": "1"}], ["--dataset", "news"], "--dataset: news has no points; chat have"),
        ([COMMON | {"accepted_mean": "1"}], ["--steps", "x"], "--acceptance, --steps: a prediction takes both"),
    ],
)
def test_what_cannot_be_compared_is_one_line(rows, options, message, tmp_path, capsys):
    pd.DataFrame(rows).to_csv(tmp_path / "results.csv", index=False)
    words = ["methods", "--results", str(tmp_path / "results.csv"), "--out", str(tmp_path / "out.csv")]
    assert main([*words, *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not Path(tmp_path / "out.csv").exists()


def test_a_setting_says_what_is_not_as_usual():
    assert setting_text(COMMON) == "layer 6, gamma 4, greedy"
    odd = COMMON | {"T": 2.0, "layer": 6.0, "gamma": 8.0, "objective": "none", "drafting": "adaptive"}
    assert setting_text(odd, policy=False) == "layer 6, T 2, none, gamma 8, adaptive"
    assert setting_text(LOOKUP | {"layer": float("nan")}) == "gamma 4, greedy"
