"""The findings that end a run: chosen from results.csv by its numbers."""

import csv
from pathlib import Path

from selfdraft.study.findings import findings

REFERENCE = Path(__file__).resolve().parents[2] / "docs/reference/results.csv"
SETTINGS = {
    "drafter": "early_exit", "layer": "6", "T": "1.0", "capacity": "head", "objective": "kl", "seed": "0",
    "policy": "greedy", "gamma": "4", "dataset": "chat", "drafting": "fixed",
}  # fmt: skip


def table(tmp_path, *rows):
    """A results.csv of rows that differ from SETTINGS; a measure is [value, low, high]."""
    made = []
    for changed in rows:
        row = dict(SETTINGS)
        for name, value in changed.items():
            if isinstance(value, list):
                row |= {f"{name}{end}": str(number) for end, number in zip(("", "_low", "_high"), value, strict=True)}
            else:
                row[name] = value
        made.append(row)
    names = list(dict.fromkeys(name for row in made for name in row))
    with (tmp_path / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(made)
    return tmp_path / "results.csv"


def test_the_reference_run_ends_with_three_findings_of_its_table():
    said = findings(REFERENCE)
    assert len(said) == 3
    fastest = "hybrid (greedy, gamma 4, sharegpt, confident), is faster than the target alone"
    assert f"{fastest}: speedup 1.58 [1.28, 2.05]" in said[0]


def test_the_fastest_point_is_called_faster_only_if_its_interval_says_so(tmp_path):
    (one,) = findings(table(tmp_path, {"speedup": [1.1, 0.9, 1.2]}))
    assert "head at layer 6 (greedy, gamma 4, chat), is not clearly faster or slower than the target alone" in one
    (one,) = findings(table(tmp_path, {"speedup": [0.8, 0.7, 0.9]}, {"gamma": "2", "speedup": [0.7, 0.6, 0.8]}))
    assert "is slower than the target alone: speedup 0.80 [0.70, 0.90]; 0 of them" in one


def test_without_an_interval_the_fastest_is_no_verdict(tmp_path):
    (one,) = findings(table(tmp_path, {"speedup": "1.2"}, {"gamma": "2", "speedup": "0.7"}))
    assert one.endswith("has a speedup of 1.20 over the target alone (too few prompts for an interval).")
    assert "of 2 points, head at layer 6 (greedy, gamma 4, chat)" in one


def test_the_settings_that_matter_most_are_those_whose_intervals_are_furthest_apart(tmp_path):
    rows = [
        {"speedup": [0.8, 0.7, 0.9]},
        {"gamma": "2", "speedup": [0.4, 0.3, 0.5]},  # 0.7 / 0.5
        {"capacity": "norm", "speedup": [0.2, 0.19, 0.21]},  # 0.7 / 0.21
        {"policy": "t0.7", "speedup": [0.6, 0.55, 0.65]},  # 0.7 / 0.65
        {"layer": "9", "speedup": [0.79, 0.69, 0.89]},  # not apart
    ]
    said = findings(table(tmp_path, *rows))
    assert said[1].startswith("By capacity: speedup 0.80 [0.70, 0.90] with head, 0.20 [0.19, 0.21] with norm (layer 6,")
    assert said[2].startswith("By draft length: speedup 0.80 [0.70, 0.90] with 4, 0.40 [0.30, 0.50] with 2")
    assert len(said) == 3


def test_where_speed_tells_nothing_of_a_setting_acceptance_does_and_an_exit_that_is_the_target_is_left_out(tmp_path):
    rows = [
        {"accepted_mean": [0.5, 0.4, 0.6]},
        {"layer": "9", "accepted_mean": [1.5, 1.4, 1.6]},
        {"layer": "29", "accepted_mean": [4, 4, 4], "accept_rate": "1"},
    ]
    (one,) = findings(table(tmp_path, *rows))
    assert one.startswith("By exit layer: accepted tokens a cycle 1.50 [1.40, 1.60] with 9, 0.50 [0.40, 0.60] with 6")


def test_nothing_measured_is_no_finding(tmp_path):
    assert findings(table(tmp_path, {}, {"gamma": "2"})) == []
