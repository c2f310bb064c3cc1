"""cycle_time and drafting: the bars are the table's numbers, and ways of drafting are kept apart everywhere."""

import pandas as pd
import pytest
import synthetic_study
from drawing import arguments, bars_of, drawn, words

from selfdraft.cli import main
from selfdraft.figures import inputs, series
from selfdraft.figures.cycle_time import PHASES
from selfdraft.study.sweeps import FIXED

LAYERS, DRAFTING = synthetic_study.SWEEPS["layers"], synthetic_study.SWEEPS["drafting"]


def rows_of(study, **settings):
    table = pd.read_csv(study / "results.csv")
    for name, value in ({"drafting": "fixed", "T": 1.0, "gamma": 4} | settings).items():
        table = table[table[name] == value]
    return table


def changed(study, out, change):
    """A study whose results.csv is the given one, changed."""
    table = pd.read_csv(study / "results.csv", dtype=str, keep_default_na=False)
    change(table).to_csv(out / "results.csv", index=False)
    return out


def row_names(ax):
    return [text.get_text() for text in ax.get_yticklabels()]


def test_the_phases_of_a_cycle_stand_end_to_end_in_the_order_of_the_rows(study):
    figure = drawn("cycle_time", study)
    names = [f"{capacity}, layer {layer}" for capacity in LAYERS["capacity"] for layer in LAYERS["layer"]]
    assert row_names(figure.axes[0]) == names
    assert [ax.get_title() for ax in figure.axes] == ["greedy", "t0.7"]
    for ax, policy in zip(figure.axes, LAYERS["policy"], strict=True):
        table = rows_of(study, policy=policy).sort_values(["capacity", "layer"])
        begin = 0.0
        for name in PHASES:
            bars = bars_of(ax, PHASES[name])
            assert [bar.get_x() for bar in bars] == pytest.approx(list(begin + 0 * table[name]))
            assert [bar.get_width() for bar in bars] == pytest.approx(list(table[name]))
            assert [round(bar.get_y() + bar.get_height() / 2) for bar in bars] == list(range(8))
            begin = begin + table[name]


def test_a_cycle_is_compared_with_one_vanilla_step(study):
    ax = drawn("cycle_time", study).axes[1]
    table = rows_of(study, policy="t0.7").sort_values(["capacity", "layer"])
    (line,) = (line for line in ax.lines if line.get_label() == "one vanilla step")
    step = 1000 / table.vanilla_tps.iloc[0]
    assert line.get_xdata()[0] == pytest.approx(step)
    shown = [text.get_text() for text in ax.texts]
    assert shown == [f"{cycle / step:.1f}×" for cycle in table[list(PHASES)].sum(axis=1)]


def test_a_cycle_without_vanilla_rates_has_no_line_to_compare_with(study, tmp_path):
    ax = drawn("cycle_time", changed(study, tmp_path, lambda table: table.assign(vanilla_tps=""))).axes[0]
    assert len(bars_of(ax, "draft")) == 8
    assert not [line for line in ax.lines if line.get_label() == "one vanilla step"]
    assert not ax.texts


def test_a_table_without_the_short_phases_says_so(study, tmp_path):
    lacking = changed(study, tmp_path, lambda table: table.drop(columns=["accept_ms", "other_ms"]))
    assert words(drawn("cycle_time", lacking)).count("accept_ms, other_ms:\nnot measured") == 2


def test_a_point_that_lacks_one_phase_has_an_empty_row(study, tmp_path):
    def lack(table):
        return table.assign(other_ms=table.other_ms.where(table.layer != "14", ""))

    ax = drawn("cycle_time", changed(study, tmp_path, lack)).axes[0]
    at = [round(bar.get_y() + bar.get_height() / 2) for bar in bars_of(ax, "draft")]
    assert [name for place, name in enumerate(row_names(ax)) if place not in at] == [
        "head, layer 14", "head_block, layer 14",
    ]  # fmt: skip


def test_a_policy_that_was_not_measured_leaves_the_scale_and_the_names_of_the_others(study, tmp_path):
    def lack(table):
        return table.assign(other_ms=table.other_ms.where(table.policy == "t0.7", ""))

    whole, figure = drawn("cycle_time", study), drawn("cycle_time", changed(study, tmp_path, lack))
    assert "other_ms:\nnot measured" in words(figure)
    assert row_names(figure.axes[0]) == row_names(whole.axes[0])
    shown = [[text.get_text() for text in made.axes[1].get_xticklabels()] for made in (whole, figure)]
    assert shown[0][0] == shown[1][0] == "0"
    assert whole.axes[0].get_xlim() == whole.axes[1].get_xlim()


def test_a_panel_stands_in_the_order_of_the_sweeps_policies_and_one_takes_a_column(study):
    both = drawn("cycle_time", study, LAYERS | {"policy": ["t0.7", "greedy"]})
    assert [ax.get_title() for ax in both.axes] == ["t0.7", "greedy"]
    one = drawn("cycle_time", study, LAYERS | {"policy": ["t0.7"]})
    assert one.get_figwidth() < 0.5 * both.get_figwidth() + 0.5
    assert len(one.axes) == 1


def test_each_way_of_drafting_has_a_bar_at_each_point(study):
    figure = drawn("drafting", study)
    assert row_names(figure.axes[0]) == ["layer 14, greedy", "layer 14, t0.7", "layer 21, greedy", "layer 21, t0.7"]
    for ax, name in zip(figure.axes, ("accepted_mean", "speedup", "draft_ms"), strict=True):
        drawn_ways = [bars.get_label() for bars in ax.containers if bars.get_label() in DRAFTING["drafting"]]
        assert drawn_ways == ["fixed", "confident", "trimmed", "adaptive"]
        for way in drawn_ways:
            table = rows_of(study, drafting=way, capacity="head_block")
            table = table[table.layer.isin(DRAFTING["layer"])].sort_values(["layer", "policy"])
            assert [bar.get_width() for bar in bars_of(ax, way)] == pytest.approx(list(table[name]))
    tops = [bars_of(figure.axes[0], way)[0].get_y() for way in DRAFTING["drafting"]]
    assert tops == sorted(tops)
    (line,) = (line for line in figure.axes[1].lines if list(line.get_xdata()) == [1.0, 1.0])
    assert line.get_linestyle() == "--"


def test_intervals_of_ways_of_drafting_are_those_of_the_table(study):
    ax = drawn("drafting", study).axes[1]
    table = rows_of(study, drafting="trimmed", layer=21, policy="greedy")
    ends = [tuple(x for x, _ in segment) for lines in ax.collections for segment in lines.get_segments()]
    wanted = (table.speedup_low.iloc[0], table.speedup_high.iloc[0])
    assert any(pair == pytest.approx(wanted) for pair in ends)


def test_bars_of_ways_can_be_told_apart_in_grey(study):
    ax = drawn("drafting", study).axes[0]
    assert len({bars_of(ax, way)[0].get_hatch() for way in DRAFTING["drafting"]}) == 4


def test_drafting_time_that_was_not_measured_leaves_the_names_of_the_rows(study, tmp_path):
    figure = drawn("drafting", changed(study, tmp_path, lambda table: table.assign(draft_ms="")))
    assert "draft_ms:\nnot measured" in words(figure)
    assert row_names(figure.axes[0])[0] == "layer 14, greedy"
    assert len(bars_of(figure.axes[1], "fixed")) == 4


@pytest.mark.parametrize("how", ["absent", "empty"])
def test_a_table_that_names_no_way_of_drafting_is_all_fixed(study, tmp_path, how):
    def forget(table):
        table = table[table.drafting == "fixed"]
        return table.drop(columns="drafting") if how == "absent" else table.assign(drafting="")

    old = changed(study, tmp_path, forget)
    figure = drawn("drafting", old, DRAFTING)
    assert [bars.get_label() for bars in figure.axes[0].containers if not bars.get_label().startswith("_")] == ["fixed"]
    assert len(drawn("pareto", old).axes[0].texts) > 0


def test_a_sweep_that_names_no_way_of_drafting_draws_fixed_ones_alone(study):
    labels = [line.get_label() for line in drawn("gamma", study).axes[0].lines if line.get_label()[0] != "_"]
    assert labels == ["layer 14", "layer 21"]
    (bars,) = (c for c in drawn("drafting", study, LAYERS).axes[0].containers if c.get_label() in DRAFTING["drafting"])
    assert bars.get_label() == "fixed"


def test_lines_of_several_ways_of_drafting_say_which_fixed_first(study):
    sweep = DRAFTING | {"policy": ["greedy"], "drafting": ["adaptive", "fixed"]}
    labels = [line.get_label() for line in drawn("acceptance_sweep", study, sweep).axes[0].lines]
    assert [label for label in labels if label[0] != "_"] == ["fixed", "adaptive"]


def test_a_way_of_drafting_that_was_not_measured_is_named(study, tmp_path, capsys):
    assert main(arguments("drafting", study, tmp_path, '{"drafting": ["eager"]}')) == 2
    assert "no row left for the sweep at drafting in ['eager']; the table has adaptive, conf" in capsys.readouterr().err


def test_quality_is_drawn_once_however_many_ways_of_drafting_were_measured(study):
    sweep = DRAFTING | {"policy": ["greedy"]}
    ax = drawn("layer_sweep", study, sweep).axes[0]
    assert [line.get_label() for line in ax.lines if line.get_label()[0] != "_"] == ["head_block", "teacher"]


@pytest.fixture
def mixed(study, tmp_path):
    """The study with prompt lookup, a drafter that has no layer."""

    def add(table):
        lookup = table[(table.layer == "6") & (table.capacity == "head") & (table.drafting == "fixed")]
        none = dict.fromkeys(("layer", "T", "capacity", "objective", "seed"), "")
        return pd.concat([table, lookup.assign(drafter="lookup", **none)])

    return changed(study, tmp_path, add)


def test_drafters_that_are_not_trained_are_called_by_their_names(mixed):
    sweep = {"capacity": ["head", ""], "gamma": 4, "policy": "greedy"}
    assert row_names(drawn("cycle_time", mixed, sweep).axes[0]) == [
        "early_exit, layer 6", "early_exit, layer 14", "early_exit, layer 21", "early_exit, layer 29", "lookup",
    ]  # fmt: skip
    (alone,) = row_names(drawn("cycle_time", mixed, {"drafter": "lookup"}).axes[0])
    assert alone == "lookup"


def test_a_drafter_without_a_layer_has_no_bar_among_the_layers(mixed):
    ax = drawn("capacity", mixed, {"capacity": ["head", ""], "gamma": 4, "policy": "greedy"}).axes[1]
    assert [round(bar.get_x() + bar.get_width() / 2) for bar in ax.patches] == [0, 1, 2, 3]


def test_the_usual_way_of_drafting_has_one_name():
    assert inputs.FIXED == series.FIXED == FIXED
