"""Every figure draws from any measured table, or says what is wrong."""

import json

import pandas as pd
import pytest
from drawing import OF_RESULTS, OPTION, TABLE, arguments, drawn, sweep_of, words
from matplotlib.figure import Figure
from matplotlib.image import imread

from selfdraft.cli import main
from selfdraft.figures import FIGURES
from selfdraft.figures.style import log_axis
from selfdraft.statistics.columns import SETTINGS


@pytest.mark.parametrize("name", FIGURES)
def test_one_point_without_intervals_can_be_drawn(name, tiny, tmp_path):
    assert main(arguments(name, tiny, tmp_path)) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{name}.pdf", f"{name}.png"]


@pytest.mark.parametrize("name", OF_RESULTS)
@pytest.mark.parametrize("how", ["empty", "absent"])
def test_a_table_with_settings_alone_says_not_measured(name, how, study, tmp_path):
    table = pd.read_csv(study / "results.csv", dtype=str, keep_default_na=False)
    settings = table[list(SETTINGS)]
    if how == "empty":
        settings = settings.reindex(columns=table.columns, fill_value="")
    settings.to_csv(tmp_path / "results.csv", index=False)
    assert any("not measured" in word for word in words(drawn(name, tmp_path)))


def test_speed_that_was_not_measured_leaves_the_other_panels(study, tmp_path):
    table = pd.read_csv(study / "results.csv", dtype=str, keep_default_na=False)
    table.assign(speedup="", speedup_low="", speedup_high="").to_csv(tmp_path / "results.csv", index=False)
    figure = drawn("gamma", tmp_path)
    assert "speedup:\nnot measured" in words(figure)
    assert len(figure.axes[0].lines) > 0


def test_lines_stand_at_the_measured_values_with_their_intervals(study):
    figure = drawn("layer_sweep", study)
    table = pd.read_csv(study / "results.csv")
    at = table[(table.capacity == "head") & (table["T"] == 1) & (table.policy == "greedy") & (table.gamma == 4)]
    ax = figure.axes[0]
    (line,) = (line for line in ax.lines if line.get_label() == "head")
    assert line.get_ydata() == pytest.approx(at.sort_values("layer")["kl"])
    (bars,) = (c for c in ax.collections if abs(c.get_segments()[0][0][1] - at.kl_low.iloc[0]) < 1e-9)
    ends = [(segment[0][1], segment[1][1]) for segment in bars.get_segments()]
    assert ends == [pytest.approx(pair) for pair in zip(at.kl_low, at.kl_high, strict=True)]
    (teacher,) = (line for line in figure.axes[2].lines if line.get_label() == "teacher")
    assert teacher.get_ydata()[0] == pytest.approx(at.teacher_top1.iloc[0])


def test_quality_is_drawn_once_however_many_policies_were_measured(study):
    labels = [line.get_label() for line in drawn("layer_sweep", study).axes[0].lines]
    assert [label for label in labels if not label.startswith("_")] == ["head", "head_block", "teacher"]


def test_each_capacity_and_policy_has_a_line_that_can_be_told_in_grey(study):
    lines = [line for line in drawn("acceptance_sweep", study).axes[0].lines if line.get_label()[0] != "_"]
    assert [line.get_label() for line in lines] == [
        "head, greedy", "head, t0.7", "head_block, greedy", "head_block, t0.7",
    ]  # fmt: skip
    looks = {(line.get_marker(), line._dash_pattern[1] and tuple(line._dash_pattern[1])) for line in lines}
    assert len(looks) == 4
    assert len({line.get_color() for line in lines}) == 2


def test_pareto_labels_each_exit_layer_and_marks_speedup_1(study):
    figure = drawn("pareto", study)
    shown = [text.get_text() for text in figure.axes[0].texts]
    assert {"6", "14", "21", "29"} <= set(shown)
    assert any(list(line.get_ydata()) == [1.0, 1.0] for line in figure.axes[0].lines)


def test_pareto_labels_do_not_cover_each_other(study):
    figure = drawn("pareto", study)
    boxes = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text()]
    assert len(boxes) > 4
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])


def test_histograms_hold_the_shares_of_uncut_cycles(study):
    figure = drawn("histograms", study, {"layer": 21, "capacity": "head_block", "T": 1, "gamma": 4, "policy": "greedy"})
    raw = pd.read_csv(study / "acceptance.csv")
    raw = raw[(raw.layer == 21) & (raw.capacity == "head_block") & (raw["T"] == 1) & (raw.gamma == 4)]
    raw = raw[(raw.policy == "greedy") & (raw.drafting == "fixed") & (raw.cut == 0)]
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert heights == pytest.approx([(raw.accepted == n).mean() for n in range(5)])
    assert sum(heights) == pytest.approx(1)


def test_no_text_leaves_the_figure(study):
    for name in FIGURES:
        figure = drawn(name, study)
        page = figure.bbox
        for text in figure.findobj(lambda artist: hasattr(artist, "get_text")):
            if text.get_text() and text.get_visible():
                box = text.get_window_extent()
                inside = box.x0 > page.x0 - 1 and box.x1 < page.x1 + 1 and box.y0 > -1 and box.y1 < page.y1 + 1
                ticks = text in [
                    t for ax in figure.axes for t in (*ax.get_xticklabels(), *ax.get_yticklabels(which="both"))
                ]
                assert inside or ticks, (name, text.get_text())


def test_an_interval_that_does_not_hold_its_value_is_drawn_as_it_is(study, tmp_path):
    table = pd.read_csv(study / "results.csv")
    table.assign(kl_low=table.kl + 0.1, kl_high=table.kl + 0.2).to_csv(tmp_path / "results.csv", index=False)
    drawn("layer_sweep", tmp_path)


def test_the_default_state_of_matplotlib_is_left_alone(study):
    import matplotlib

    before = dict(matplotlib.rcParams)
    drawn("pareto", study)
    assert dict(matplotlib.rcParams) == before


def test_a_style_changes_size_and_type(study, tmp_path):
    style = json.dumps({"width": 5, "height": 3, "rcParams": {"font.size": 9, "savefig.dpi": 100}})
    assert main(arguments("gamma", study, tmp_path, json.dumps(sweep_of("gamma")), style)) == 0
    assert imread(tmp_path / "gamma.png").shape[:2] == (300, 500)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("pareto", {"style": '{"widht": 3}'}, '--style: widht: unknown key; did you mean "width"?'),
        ("pareto", {"style": '{"rcParams": {"font.sise": 3}}'}, "font.sise: matplotlib has no such key; did you"),
        ("pareto", {"style": '{"rcParams": {"font.size": "huge"}}'}, "--style: rcParams.font.size: "),
        ("pareto", {"style": '{"width": -1}'}, "--style: width: -1 is not a number of inches"),
        ("pareto", {"style": "[]"}, "--style: [] is not an object"),
        ("pareto", {"sweep": '{"layers": [6]}'}, '--sweep: layers: unknown key; did you mean "layer"?'),
        ("pareto", {"sweep": '{"layer": ["six"]}'}, "--sweep: layer: 'six' is not a number"),
        ("pareto", {"sweep": "layer=6"}, "--sweep: not valid JSON"),
        ("pareto", {"sweep": '{"layer": [7]}'}, "no row left for the sweep at layer in [7]; the table has 6.0"),
        ("histograms", {"sweep": '{"policy": ["t9"]}'}, "no row left for the sweep at policy in ['t9']"),
        ("training_curves", {"sweep": '{"layer": [7]}'}, "no checkpoint of the sweep among layer14_T1.0"),
    ],
)
def test_a_mistake_ends_with_one_line_and_no_output(name, options, message, study, tmp_path, capsys):
    assert main(arguments(name, study, tmp_path / "out", **options)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", FIGURES)
def test_a_missing_input_is_named(name, tmp_path, capsys):
    assert main(["figure", name, "--out-dir", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert f"{OPTION.get(name, '--results')}: not given" in error
    assert TABLE.get(name, "") in error


def test_a_results_table_without_settings_is_named(tmp_path, capsys):
    (tmp_path / "results.csv").write_text("layer,kl\n6,1.0\n")
    assert main(["figure", "pareto", "--results", f"{tmp_path}/results.csv"]) == 2
    assert "results.csv: column drafter, T, capacity" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [('{"tokens": 1, "loss": 2}\n{"tok', "line 2: not a JSON object"), ("", "the training log is empty")],
)
def test_a_broken_training_log_is_named_with_its_line(tmp_path, capsys, text, message):
    log = tmp_path / "layer6_T1.0_head" / "train_log.jsonl"
    log.parent.mkdir()
    log.write_text(text)
    assert main(["figure", "training_curves", "--logs", str(log), "--out-dir", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_numbers_below_one_are_written_plainly_on_a_logarithmic_axis():
    ax = Figure().add_subplot()
    ax.plot([1, 2], [0.35, 2.8])
    log_axis(ax)
    ax.figure.draw_without_rendering()
    labels = [label.get_text() for label in ax.get_yticklabels(which="both")]
    assert {"0.4", "1", "2"} <= set(labels)
    assert not [label for label in labels if "e" in label]


def test_every_figure_has_a_caption():
    from pathlib import Path

    captions = Path(__file__).parents[2] / "workflow" / "report"
    assert {path.stem for path in captions.glob("*.rst")} >= set(FIGURES)


def test_a_log_that_starts_at_zero_is_drawn(tmp_path):
    log = tmp_path / "checkpoints" / "layer29_T1.0_head" / "train_log.jsonl"
    log.parent.mkdir(parents=True)
    lines = [(0, None, 0.0), (1, 1e-4, None), (2, 1e-5, 1e-6)]
    log.write_text(
        "".join(json.dumps({"tokens": t, "loss": loss, "validation_kl": kl}) + "\n" for t, loss, kl in lines)
    )
    assert drawn("training_curves", tmp_path, {}).axes[1].get_ylim()[0] == 0
