"""methods: a row a method, a marker a data set, what is missing said; learning: a line a trained drafter."""

import json

import numpy as np
import pandas as pd
import pytest
from drawing import drawn, words

from selfdraft.cli import main
from selfdraft.training.drafter_settings import DrafterSettings

CELLS = ("accepted_mean", "speedup", "predicted_speedup")


def markers(ax, filled=True):
    """x of the markers with a face of their colour, or with a white one; without lines of reference."""
    lines = [line for line in ax.lines if line.get_marker() not in ("", "None", None, "|")]  # no caps of bars
    return [x for line in lines if (line.get_markerfacecolor() != "white") == filled for x in line.get_xdata()]


@pytest.fixture
def table(study, tmp_path):
    """methods.csv of a study with other prompts, at one setting; its speedups elsewhere are predicted."""
    rows = pd.read_csv(study / "domains/methods.csv")
    elsewhere = rows["dataset"] != "sharegpt"
    rows.loc[elsewhere, list(CELLS)] = np.nan
    rows.loc[elsewhere & (rows["method"] == "early_exit head"), ["accepted_mean", "predicted_speedup"]] = (0.4, 0.5)
    rows.to_csv(tmp_path / "methods.csv", index=False)
    return rows


def test_markers_are_the_cells_predictions_are_open_and_gaps_are_said(table, tmp_path):
    figure = drawn("methods", tmp_path)
    accepted, speed = figure.axes
    assert sorted(markers(accepted)) == pytest.approx(sorted(table["accepted_mean"].dropna()))
    assert sorted(markers(speed)) == pytest.approx(sorted(table["speedup"].dropna()))
    assert markers(speed, filled=False) == [0.5, 0.5]
    assert any(list(line.get_xdata()) == [1.0, 1.0] for line in speed.lines)
    assert [text.get_text() for text in accepted.texts].count(
        "code, other_chats: not measured"
    ) == 2  # lookup, head_block
    assert "predicted, not timed" in words(figure)


def test_rows_name_the_method_and_its_setting_the_fastest_of_a_policy_on_top(study):
    rows = pd.read_csv(study / "methods.csv")
    names = [text.get_text() for text in drawn("methods", study).axes[0].get_yticklabels()]
    assert len(names) == len(rows[["method", "policy"]].drop_duplicates()) == 4
    greedy = rows[rows["policy"] == "greedy"].sort_values("speedup", ascending=False)
    assert [name.partition("\n")[0] for name in names[:2]] == [
        method.replace("early_exit", "early exit,") for method in greedy["method"]
    ]
    assert all("gamma" in name and name.endswith(("greedy", "t0.7")) for name in names)


def test_a_study_without_speeds_or_other_prompts_has_its_accepted_tokens(tmp_path, table):
    own = table[table["dataset"] == "sharegpt"].assign(speedup=np.nan, predicted_speedup=np.nan)
    own.to_csv(tmp_path / "methods.csv", index=False)
    figure = drawn("methods", tmp_path)
    assert "speedup:\nnot measured" in words(figure)
    assert len(markers(figure.axes[0])) == len(own)


def test_acceptance_stands_against_training_tokens_a_line_a_drafter(study):
    (ax,) = drawn("learning", study).axes
    assert [line.get_label() for line in ax.lines] == ["eagle3", "eagle3_one_feature"]
    log = (study / "drafters/eagle3/train_log.jsonl").read_text().splitlines()
    looks = [row for row in map(json.loads, log) if row["validation_accepted"] is not None]
    assert len(looks) >= 5
    assert list(ax.lines[0].get_xdata()) == pytest.approx([row["tokens"] / 1e3 for row in looks])
    assert list(ax.lines[0].get_ydata()) == pytest.approx([row["validation_accepted"] for row in looks])


def test_without_a_trained_drafter_the_figure_says_so(tmp_path):
    assert main(["figure", "learning", "--logs", "--out-dir", str(tmp_path)]) == 0
    assert words(drawn("learning", tmp_path)).count("no trained drafter in this study") == 1


def test_training_looks_often_enough_for_a_curve():
    assert DrafterSettings().evaluations >= 5
