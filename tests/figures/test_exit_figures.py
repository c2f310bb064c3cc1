"""The figures of several exits: lines hold the tables' values, and what is missing is said."""

import numpy as np
import pandas as pd
import side_tables
from drawing import drawn, words

from selfdraft.figures.exits import best_fixed


def lines_of(ax):
    return {line.get_label(): line for line in ax.get_lines() if not line.get_label().startswith("_")}


def test_layers_levels_and_the_lines_beside_them_are_the_tables(study):
    leaving, speed, rate, beyond = drawn("exits", study).axes
    rows = pd.read_csv(study / "exit_layers.csv")
    shares = lines_of(leaving)["adaptive-0.7"]
    of_level = rows[rows["drafter"] == "adaptive-0.7"]
    assert [list(shares.get_xdata()), list(shares.get_ydata())] == [list(of_level["layer"]), list(of_level["share"])]
    assert "early_exit" not in lines_of(leaving)
    for ax, name in ((speed, "speedup"), (rate, "accept_rate")):
        found = lines_of(ax)
        values = rows[rows["kind"] == "adaptive_early_exit"].drop_duplicates("drafter")
        assert list(found["adaptive early exit"].get_xdata()) == list(values["accuracy_level"])
        assert list(found["adaptive early exit"].get_ydata()) == list(values[name])
        assert set(found["dynamic"].get_ydata()) == set(rows.loc[rows["kind"] == "dynamic", name])
        assert found["dynamic"].get_color() == lines_of(leaving)["dynamic"].get_color()
        fastest = rows[(rows["kind"] == "fixed_exit") & (rows["layer"] == 14)]
        assert set(found["best fixed exit (layer 14)"].get_ydata()) == set(fastest[name])
        assert len(ax.patches) == 2  # the intervals of what lies across
    found = lines_of(beyond)
    levels = rows[rows["kind"] == "adaptive_early_exit"].drop_duplicates("drafter")
    assert list(found["adaptive early exit"].get_ydata()) == list(levels["speedup_over_fixed"])
    best = rows[rows["kind"] == "best_level"]
    assert [list(found["best level"].get_xdata()), list(found["best level"].get_ydata())] == [
        list(best["accuracy_level"]),
        list(best["speedup_over_fixed"]),
    ]
    assert set(found) == {"adaptive early exit", "best level", "dynamic"}
    assert "best level" not in lines_of(speed)


def test_the_best_fixed_exit_is_the_fastest_and_stands_only_beside_what_it_is_compared_with(study, tmp_path):
    rows = pd.DataFrame(side_tables.exit_layers()).replace("", np.nan)
    assert list(best_fixed(rows)["layer"]) == [14]
    again = [rows.assign(seed=seed, speedup=rows["speedup"] + seed) for seed in (0, 1)]  # luck of another seed
    assert list(best_fixed(pd.concat(again, ignore_index=True))["seed"]) == [0]
    assert best_fixed(rows.assign(speedup=np.nan)).empty
    assert best_fixed(rows[rows["kind"] == "dynamic"]).empty
    alone = [row | {"gamma": 9} for row in side_tables.exit_layers() if row["kind"] == "fixed_exit"]
    side_tables.write(tmp_path / "exit_layers.csv", [*side_tables.exit_layers(), *alone])
    assert words(drawn("exits", tmp_path)) == words(drawn("exits", study))


def test_the_trade_shows_agreement_and_both_risks_and_what_was_not_reached_is_not_drawn(study):
    figure = drawn("unverified", study)
    trade, risk = map(lines_of, figure.axes)
    rows = pd.read_csv(study / "unverified.csv")
    lossy = rows[(rows["mode"] == "lossy_adaptive") & rows["speedup"].notna()].sort_values("speedup")
    line = trade["lossy adaptive (its level)"]
    assert list(line.get_xdata()) == list(lossy["speedup"])
    assert np.allclose(line.get_ydata(), 1 - lossy["disagreement"])
    assert len(trade["fixed exit (its layer)"].get_xdata()) == 2
    assert {"0.50", "0.75", "7", "14"} <= set(words(figure))
    assert "0.95" not in words(figure)
    seen = risk["second split of held-out answers"]
    assert np.allclose(seen.get_ydata(), 0.8 * np.asarray(seen.get_xdata()))
    assert np.allclose(risk["text that the heads wrote"].get_ydata(), 1.1 * np.asarray(seen.get_xdata()))


def test_a_study_without_such_points_says_so(study, tmp_path):
    for name, table, rows in (
        ("exits", "exit_layers.csv", side_tables.exit_layers()),
        ("unverified", "unverified.csv", side_tables.unverified()),
    ):
        empty = [
            {k: "" if k[:5] in ("speed", "accep", "share", "disag", "obser") else v for k, v in row.items()}
            for row in rows
        ]
        side_tables.write(tmp_path / table, empty)
        assert sum("not measured" in word for word in words(drawn(name, tmp_path))) == len(drawn(name, tmp_path).axes)
