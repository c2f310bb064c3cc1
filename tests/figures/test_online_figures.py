"""The figures of drafts that learn while they decode show the rows of online.csv, and say where there is nothing."""

import online_runs
import pandas as pd
import pytest
from drawing import drawn, words

from selfdraft.cli import main
from selfdraft.figures import figure_module
from selfdraft.figures.inputs import Inputs
from selfdraft.figures.style import Style, applied


def drawn_from(study, table):
    with applied(Style()):
        return figure_module("online").draw(Inputs(study / "results.csv", None, [], table, {}))


def test_a_line_an_objective_with_its_band_and_the_trained_exit_across(study):
    rows = pd.read_csv(study / "online.csv")
    looks = rows[(rows["part"] == "held_out") & (rows["learner"] == "composite")]
    (ax,) = drawn("online", study).axes
    assert [line.get_label() for line in ax.lines] == ["composite", "none", "trained before"]
    assert list(ax.lines[0].get_xdata()) == list(looks["prompts"])
    assert list(ax.lines[0].get_ydata()) == pytest.approx(list(looks["accepted_mean"]))
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert {*looks["accepted_mean_low"].round(9), *looks["accepted_mean_high"].round(9)} <= {*band.round(9)}
    (exit_,) = rows[rows["part"] == "beside"]["accepted_mean"]
    assert ax.lines[2].get_ydata()[0] == pytest.approx(exit_)


def test_where_a_line_has_had_what_the_exit_had_it_is_marked(study, tmp_path):
    folders = online_runs.write_runs(tmp_path / "learners", trained=(90, 0.125))
    assert main(["online", "--runs", *map(str, folders), "--out", str(tmp_path / "online.csv")]) == 0
    rows = pd.read_csv(tmp_path / "online.csv")
    (ax,) = drawn_from(study, tmp_path / "online.csv").axes
    marks = {one.get_label(): one.get_offsets().tolist() for one in ax.collections}
    for part in ("equal_data", "equal_seconds"):
        there = rows[rows["part"] == part]
        assert list(there["learner"]) == ["composite", "none"]
        assert marks[part.replace("_", " ")] == there[["prompts", "accepted_mean"]].to_numpy().tolist()


def test_lines_whose_stream_changes_are_left_to_their_own_figure_where_there_are_others(study, tmp_path):
    rows = pd.read_csv(study / "online.csv")
    steady = rows[~((rows["learner"] == "none") & (rows["dataset"] == "code"))]
    steady.to_csv(tmp_path / "online.csv", index=False)
    (ax,) = drawn_from(study, tmp_path / "online.csv").axes
    assert [line.get_label() for line in ax.lines] == ["none", "trained before"]


def test_a_stream_is_drawn_with_the_place_where_it_changes(study):
    rows = pd.read_csv(study / "online.csv")
    pieces = rows[(rows["part"] == "stream") & (rows["learner"] == "composite")]
    figure = drawn("shift", study)
    (ax,) = figure.axes
    assert list(ax.lines[0].get_xdata()[:2]) == [1.0, 3.0]
    assert list(ax.lines[0].get_ydata()) == pytest.approx(list(pieces["accepted_mean"]))
    assert [line.get_xdata()[0] for line in ax.lines if len(set(line.get_xdata())) == 1] == [20]
    assert {"chats", "code"} <= set(words(figure))


def test_streams_that_do_not_change_are_not_drawn(tiny):
    assert "a stream that changes:\nnot measured" in words(drawn("shift", tiny))
