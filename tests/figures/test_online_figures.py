"""The figures of drafts that learn while they decode show the rows of online.csv, and say where there is nothing."""

import pandas as pd
import pytest
from drawing import drawn, words

from selfdraft.figures import figure_module
from selfdraft.figures.inputs import Inputs
from selfdraft.figures.style import Style, applied


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


def test_lines_whose_stream_changes_are_left_to_their_own_figure_where_there_are_others(study, tmp_path):
    rows = pd.read_csv(study / "online.csv")
    steady = rows[~((rows["learner"] == "none") & (rows["dataset"] == "code"))]
    steady.to_csv(tmp_path / "online.csv", index=False)
    inputs = Inputs(study / "results.csv", None, [], tmp_path / "online.csv", {})
    with applied(Style()):
        (ax,) = figure_module("online").draw(inputs).axes
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
