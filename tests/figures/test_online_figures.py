"""The figures of drafts that learn while they decode show the rows of online.csv, and say where there is nothing."""

import pandas as pd
import pytest
from drawing import drawn, words


def test_a_line_an_objective_with_its_band_and_the_trained_exit_across(study):
    rows = pd.read_csv(study / "online.csv")
    looks = rows[(rows["part"] == "held_out") & (rows["learner"] == "composite")]
    (ax,) = drawn("online", study).axes
    assert [line.get_label() for line in ax.lines] == [
        "composite", "none", "layer14_T1.0_translator, trained before",
    ]  # fmt: skip
    assert list(ax.lines[0].get_xdata()) == list(looks["prompts"])
    assert list(ax.lines[0].get_ydata()) == pytest.approx(list(looks["accepted_mean"]))
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert {*looks["accepted_mean_low"].round(9), *looks["accepted_mean_high"].round(9)} <= {*band.round(9)}
    (exit_,) = rows[rows["part"] == "beside"]["accepted_mean"]
    assert ax.lines[2].get_ydata()[0] == pytest.approx(exit_)


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
