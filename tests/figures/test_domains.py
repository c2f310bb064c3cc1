"""domains: a group per data set, a bar per draft, gaps said; all other figures keep to the study's own data set."""

import json

import numpy as np
import pandas as pd
import pytest
import synthetic_study
from drawing import arguments, bars_of, drawn, sweep_of, words
from matplotlib.image import imread

from selfdraft.cli import main
from selfdraft.study import drawing

SETS = sweep_of("domains")["dataset"]
CONFIG = {
    "data": {"name": "sharegpt"},
    "sweeps": synthetic_study.SWEEPS | {"domains": synthetic_study.OF_DOMAINS},
    "domains": {"sweeps": ["domains"], "sets": {name: {"prompts": 1} for name in synthetic_study.DOMAINS}},
    "figures": {},
}


def rows_of(study, dataset, **settings):
    table = pd.read_csv(study / "domains/results.csv")
    table = table[table.dataset == dataset]
    for name, value in settings.items():
        table = table[table[name] == value]
    return table


def at(bar):
    return round(bar.get_y() + bar.get_height() / 2)


def changed(study, out, change):
    """A study whose results.csv is the one with domains, changed."""
    table = pd.read_csv(study / "domains/results.csv", dtype=str, keep_default_na=False)
    change(table).to_csv(out / "results.csv", index=False)
    return out


def test_the_studys_own_data_set_stands_first_and_all_are_named(study):
    figure = drawn("domains", study)
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == ["sharegpt\n(in domain)", *synthetic_study.DOMAINS]
    assert figure.axes[0].get_ylim()[0] > figure.axes[0].get_ylim()[1]  # the first one on top


@pytest.mark.parametrize("capacity", ["head", "head_block"])
def test_the_bars_are_the_numbers_of_the_table_with_their_intervals(study, capacity):
    figure = drawn("domains", study)
    for ax, name in zip(figure.axes, ("kl", "top1", "accepted_mean"), strict=True):
        points = {"layer": 21, "T": 1.0, "capacity": capacity}
        by_set = {place: rows_of(study, dataset, **points) for place, dataset in enumerate(SETS)}
        if name == "accepted_mean":
            by_set = {place: rows[(rows.policy == "greedy") & (rows.gamma == 4)] for place, rows in by_set.items()}
            by_set = {place: rows[rows.drafting == "fixed"] for place, rows in by_set.items()}
        wanted = {place: rows[name].iloc[0] for place, rows in by_set.items() if rows[name].notna().any()}
        bars = bars_of(ax, capacity)
        assert {at(bar): bar.get_width() for bar in bars} == pytest.approx(wanted)
        ends = [tuple(x for x, _ in segment) for lines in ax.collections for segment in lines.get_segments()]
        for place in wanted:
            row = by_set[place].iloc[0]
            assert any(pair == pytest.approx((row[f"{name}_low"], row[f"{name}_high"])) for pair in ends)


def test_what_was_not_measured_on_a_set_is_said_at_its_place(study):
    kl, top1, accepted = drawn("domains", study).axes
    for ax, name in ((kl, "code"), (top1, "code"), (accepted, "news")):
        notes = {text.get_position()[1]: text.get_text() for text in ax.texts if text.get_text() == "not measured"}
        assert notes == {SETS.index(name): "not measured"}
        assert SETS.index(name) not in {at(bar) for bar in ax.patches}


def test_only_drafts_that_were_measured_elsewhere_too_are_compared(study):
    kl, _, accepted = drawn("domains", study).axes
    assert len(kl.patches) == 2 * 3  # two drafts of layer 21; own, news and other_chats
    assert len(accepted.patches) == 3 * 3  # and lookup; own, code and other_chats
    labels = [bars.get_label() for bars in accepted.containers if bars.get_label()[0] != "_"]
    assert labels == ["head", "head_block", "lookup"]
    assert "lookup" not in [bars.get_label() for bars in kl.containers]


def test_a_draft_looks_the_same_in_all_panels_and_can_be_told_in_grey(study):
    kl, _, accepted = drawn("domains", study).axes
    for label in ("head", "head_block"):
        left, right = (bars_of(ax, label)[0] for ax in (kl, accepted))
        assert left.get_facecolor() == right.get_facecolor()
        assert left.get_hatch() == right.get_hatch()
    assert len({bars_of(accepted, label)[0].get_hatch() for label in ("head", "head_block", "lookup")}) == 3


def test_one_draft_alone_looks_the_same_beside_lookup_and_without(study, tmp_path):
    one = changed(study, tmp_path, lambda table: table[table.capacity != "head"])
    kl, _, accepted = drawn("domains", one).axes
    assert bars_of(kl, "head_block")[0].get_facecolor() == bars_of(accepted, "head_block")[0].get_facecolor()


def test_the_targets_own_top1_stands_across_the_bars_of_each_measured_set(study):
    ax = drawn("domains", study).axes[1]
    (marks,) = (lines for lines in ax.collections if lines.get_label() == "teacher")
    found = {round(segment[:, 1].mean()): segment[0][0] for segment in marks.get_segments()}
    assert found == pytest.approx(
        {
            place: rows_of(study, name).teacher_top1.mean()
            for place, name in enumerate(SETS)
            if name != "code"
        }
    )  # fmt: skip


def test_a_set_that_is_not_in_the_table_is_said_to_be_not_measured(study):
    figure = drawn("domains", study, {"dataset": [*SETS, "poems"]})
    for ax in figure.axes:
        assert len(SETS) in {text.get_position()[1] for text in ax.texts if text.get_text() == "not measured"}


def test_sets_without_any_prompts_leave_the_acceptance_panel_empty(study, tmp_path):
    quality = changed(study, tmp_path, lambda table: table[table.dataset.isin(["sharegpt", "news"])])
    figure = drawn("domains", quality, {"dataset": ["sharegpt", "news"]})
    assert "accepted_mean:\nnot measured" in words(figure)
    assert len(figure.axes[0].patches) == 2 * 2


def test_several_policies_have_a_bar_each_and_the_quality_of_a_draft_is_drawn_once(study, tmp_path):
    def add(table):
        elsewhere = table[(table.dataset == "code") & (table.layer == "21")]
        return pd.concat([table, elsewhere.assign(policy="t0.7", accepted_mean="0.3")])

    kl, _, accepted = drawn("domains", changed(study, tmp_path, add)).axes
    labels = [bars.get_label() for bars in accepted.containers if bars.get_label()[0] != "_"]
    assert labels == ["head, greedy", "head, t0.7", "head_block, greedy", "head_block, t0.7", "lookup, greedy"]
    assert len(kl.patches) == 2 * 3


@pytest.mark.parametrize("name", [name for name in drawing.FIGURES if name not in ("domains", "training_curves")])
def test_other_figures_stay_as_they_were(name, study, tmp_path):
    alone = drawing.figures({key: value for key, value in CONFIG.items() if key != "domains"})
    grids = [json.dumps(made[name]["sweep"]) for made in (alone, drawing.figures(CONFIG))]
    for folder, tables, grid in (("a", study, grids[0]), ("b", study / "domains", grids[1])):
        assert main(arguments(name, tables, tmp_path / folder, grid)) == 0
    first, second = (imread(tmp_path / folder / f"{name}.png") for folder in ("a", "b"))
    assert np.array_equal(first, second)  # the pictures: the files name their tables, which differ


def test_without_the_data_set_in_the_grid_a_figure_would_mix_them(study):
    table = pd.read_csv(study / "domains/results.csv")
    assert set(table.dataset) == set(SETS)
    mixed = drawn("acceptance_sweep", study / "domains", synthetic_study.OF_DOMAINS)
    assert {line.get_label().split(",")[0] for line in mixed.axes[0].lines if line.get_label()[0] != "_"} > {"code"}
