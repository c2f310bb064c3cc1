"""capacity: bars by layer while there is room, a row per capacity at one layer; each capacity looks like itself."""

import pandas as pd
import pytest
import synthetic_study
from drawing import bars_of, drawn, words

from selfdraft.capacities import CAPACITIES
from selfdraft.figures import series, style
from selfdraft.figures.capacity import size_text

GRID = synthetic_study.CAPACITIES
BY_SIZE = [
    "norm (576)",
    "translator (332k)",
    "lora (1.08M)",
    "adapter (1.11M)",
    "low_rank_head (3.18M)",
    "head (28.3M)",
    "head_block (31.9M)",
]


def names_of(ax):
    return [text.get_text() for text in ax.get_yticklabels()]


def changed(study, out, change):
    table = pd.read_csv(study / "results.csv", dtype=str, keep_default_na=False)
    change(table).to_csv(out / "results.csv", index=False)
    return out


def test_at_one_layer_the_capacities_stand_below_each_other_by_trained_parameters(seven):
    figure = drawn("capacity", seven, GRID)
    assert names_of(figure.axes[0]) == BY_SIZE
    table = pd.read_csv(seven / "results.csv").sort_values("trained_parameters")
    for ax, name in zip(figure.axes, ("kl", "accepted_mean", "speedup"), strict=True):
        for policy in ("greedy", "t0.7") if name != "kl" else ("",):
            rows = table[table.policy == (policy or "greedy")]
            (bars,) = [c for c in ax.containers if c.get_label() == policy] if policy else ax.containers[:1]
            assert sorted((bar.get_y(), bar.get_width()) for bar in bars) == [
                (bar.get_y(), pytest.approx(value)) for bar, value in zip(by_row(bars), rows[name], strict=True)
            ]
    (line,) = (line for line in figure.axes[2].lines if list(line.get_xdata()) == [1.0, 1.0])
    assert line.get_linestyle() == "--"


def by_row(bars):
    return sorted(bars, key=lambda bar: bar.get_y())


def test_one_policy_needs_no_legend(seven):
    figure = drawn("capacity", seven, GRID | {"policy": ["greedy"]})
    assert [text.get_text() for legend in figure.legends for text in legend.get_texts()] == []
    assert len(figure.axes[1].patches) == 7


def test_capacities_of_unknown_size_come_last_in_their_usual_order(seven, tmp_path):
    figure = drawn("capacity", changed(seven, tmp_path, lambda table: table.assign(trained_parameters="")), GRID)
    assert names_of(figure.axes[0]) == [f"{name} (?)" for name in CAPACITIES]
    lacking = changed(seven, tmp_path, lambda table: table.drop(columns="trained_parameters"))
    assert names_of(drawn("capacity", lacking, GRID).axes[0]) == [f"{name} (?)" for name in CAPACITIES]


def test_speed_that_was_not_measured_leaves_the_rows_named(seven, tmp_path):
    figure = drawn("capacity", changed(seven, tmp_path, lambda table: table.assign(speedup="")), GRID)
    assert "speedup:\nnot measured" in words(figure)
    assert names_of(figure.axes[0]) == BY_SIZE


def test_several_layers_stand_side_by_side_as_before(study):
    figure = drawn("capacity", study)
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["6", "14", "21", "29"]
    assert len(bars_of(figure.axes[1], "head, greedy")) == 4


def test_many_capacities_at_many_layers_are_lines(seven, tmp_path):
    def more(table):
        return pd.concat([table.assign(layer=layer) for layer in ("6", "14", "21", "25", "29")])

    figure = drawn("capacity", changed(seven, tmp_path, more), GRID | {"layer": [6, 14, 21, 25, 29]})
    lines = [line for line in figure.axes[1].lines if line.get_label()[0] != "_"]
    assert len(lines) == 14
    assert not figure.axes[1].patches


def test_each_capacity_has_a_colour_of_its_own_whatever_others_there_are(seven):
    looks = [series.look(place, 0) for place in series.colours_of(CAPACITIES).values()]
    assert len(looks) == len(CAPACITIES) >= 7
    for part in ("color", "marker", "line", "hatch"):
        assert len({getattr(look, part) for look in looks}) == len(CAPACITIES)
    two = series.colours_of(["translator", "lora"])
    assert two == {name: series.colours_of(CAPACITIES)[name] for name in two}
    assert series.colours_of(["head", "head_block"]) == {"head": 0, "head_block": 1}


def test_a_drafter_without_a_capacity_has_a_colour_that_no_capacity_beside_it_has():
    assert series.colours_of(["head", "head_block", ""])[""] == 2
    every = series.colours_of([*CAPACITIES[:7], ""])
    assert len(set(every.values())) == 8 == len(style.PALETTE)


def test_lines_of_capacities_stand_in_the_order_of_their_size_and_look_like_themselves(seven):
    sweep = GRID | {"capacity": ["lora", "head", "translator"], "policy": ["greedy"]}
    lines = [line for line in drawn("acceptance_sweep", seven, sweep).axes[0].lines if line.get_label()[0] != "_"]
    assert [line.get_label() for line in lines] == ["translator", "head", "lora"]
    assert lines[1].get_color() == style.PALETTE[0]
    assert lines[0].get_color() == style.PALETTE[series.colours_of(CAPACITIES)["translator"]]


@pytest.mark.parametrize(
    ("parameters", "text"), [(576, "576"), (331776, "332k"), (28311552, "28.3M"), (1.24e9, "1.24B")]
)
def test_sizes_have_three_digits(parameters, text):
    assert size_text(parameters) == text
