"""batch, lengths, peers and compile: each draws the numbers of its own table, or says what the table lacks."""

import pytest
import side_tables
from drawing import TABLE, arguments, bars_of, drawn, words

from selfdraft.cli import main

COLUMN_OF = {"batch": "speedup", "lengths": "speedup", "peers": "ratio_to_transformers", "compile": "compile_s"}
ROWS = {
    "batch": side_tables.batches,
    "lengths": side_tables.lengths,
    "peers": side_tables.peers,
    "compile": side_tables.compiled,
}
SIZE_OF = {"batch": "batch", "lengths": "length", "peers": "batch", "compile": "depth"}
SETTINGS_OF = {  # the first columns that tell rows apart
    **dict.fromkeys(("batch", "lengths"), "drafter, layer"),
    **{"peers": "method, implementation", "compile": "mode, dtype"},
}


def written(out, name, rows):
    side_tables.write(out / TABLE[name], rows)
    return out


def labels(ax):
    """The labels of the bars, and of the lines, in the order of drawing."""
    found = [artist.get_label() for artist in (*ax.containers, *ax.lines)]
    return [label for label in found if isinstance(label, str) and label[0] != "_"]


def ticks(ax):
    return [text.get_text() for text in ax.get_xticklabels()]


def line_of(ax, label):
    (line,) = (line for line in ax.lines if line.get_label() == label)
    return line


def test_speedup_stands_over_the_measured_batch_sizes_on_a_logarithmic_axis(study):
    left, right = drawn("batch", study).axes
    assert labels(left) == ["early_exit, layer 14", "early_exit, layer 21", "lookup"]
    for ax in (left, right):
        assert ax.get_xscale() == "log"
        assert ticks(ax) == ["1", "2", "4", "8", "16"]
    rows = [row for row in side_tables.batches() if row["layer"] == 21]
    line = line_of(left, "early_exit, layer 21")
    assert list(line.get_ydata()) == pytest.approx([row["speedup"] for row in rows])
    assert list(line.get_xdata()) == pytest.approx([1, 2, 4, 8, 16], rel=0.05)
    assert any(list(line.get_ydata()) == [1.0, 1.0] for line in left.lines)


def test_lines_that_stand_apart_keep_their_order_at_every_batch_size(study):
    left = drawn("batch", study).axes[0]
    first, second = (line_of(left, f"early_exit, layer {layer}").get_xdata() for layer in (14, 21))
    assert list(second / first) == pytest.approx([second[0] / first[0]] * 5)
    assert 1 < second[0] / first[0] < 1.1


def test_vanilla_is_drawn_once_in_black_however_many_drafts_there_are(study):
    right = drawn("batch", study).axes[1]
    assert labels(right) == ["vanilla", "early_exit, layer 14", "early_exit, layer 21", "lookup"]
    vanilla = line_of(right, "vanilla")
    assert list(vanilla.get_ydata()) == pytest.approx([40 * size**0.72 for size in (1, 2, 4, 8, 16)])
    assert vanilla.get_color() == "#000000"
    assert line_of(right, "lookup").get_ydata()[0] == pytest.approx(40 * 1.5)


def test_each_policy_has_a_vanilla_line(tmp_path):
    rows = side_tables.batches((1, 2), (14,), ("greedy", "t0.7"))
    right = drawn("batch", written(tmp_path, "batch", rows)).axes[1]
    assert labels(right) == ["vanilla, greedy", "vanilla, t0.7", "greedy", "t0.7"]


def test_number_formats_and_devices_have_lines_of_their_own(tmp_path):
    rows = [row | {"dtype": dtype} for dtype in ("float32", "bfloat16") for row in side_tables.batches((1, 2), (14,))]
    left = drawn("batch", written(tmp_path, "batch", rows)).axes[0]
    assert labels(left) == ["bfloat16", "float32"]


def test_the_sweep_chooses_rows_of_the_batches(study):
    left = drawn("batch", study, {"layer": 21}).axes[0]
    assert labels(left) == ["speculative"]


def test_speed_and_acceptance_stand_over_the_lengths_and_vanilla_beside_the_seconds(study):
    figure = drawn("lengths", study)
    rows = [row for row in side_tables.lengths() if row["drafter"] == "lookup"]
    for ax, column in zip(figure.axes, ("speedup", "spec_s", "accept_rate"), strict=True):
        assert ax.get_xscale() == "log"
        assert ticks(ax) == ["50", "100", "200", "500", "1000"]
        assert [label for label in labels(ax) if label != "vanilla"] == ["early_exit", "lookup"]
        assert list(line_of(ax, "lookup").get_ydata()) == pytest.approx([row[column] for row in rows])
    vanilla = line_of(figure.axes[1], "vanilla")
    assert list(vanilla.get_ydata()) == pytest.approx([row["vanilla_s"] for row in rows])
    assert vanilla.get_color() == "#000000"
    assert any(list(line.get_ydata()) == [1.0, 1.0] for line in figure.axes[0].lines)


def test_each_implementation_has_a_bar_at_each_method_that_it_offers(study):
    figure = drawn("peers", study)
    assert [ax.get_title() for ax in figure.axes[:3]] == ["bfloat16, batch 1", "bfloat16, batch 8", "float32, batch 1"]
    ax = figure.axes[0]
    assert ticks(ax) == ["vanilla", "early\nexit", "prompt\nlookup", "draft\nmodel"]
    assert labels(ax) == ["selfdraft", "transformers", "economize"]
    for name in labels(ax):
        wanted = [(place, rates[name]) for place, rates in enumerate(side_tables.RATES.values()) if name in rates]
        found = [(bar.get_x() + bar.get_width() / 2, bar.get_height()) for bar in bars_of(ax, name)]
        assert [(round(x), height) for x, height in found] == [(x, pytest.approx(rate)) for x, rate in wanted]
    assert len(bars_of(figure.axes[1], "selfdraft")) == 4
    assert len(bars_of(figure.axes[1], "transformers")) == 1


def test_the_ratio_to_transformers_stands_above_the_bars_of_the_others(study):
    texts = {text.get_text(): text.xy for text in drawn("peers", study).axes[0].texts}
    assert set(texts) == {"1.7×", "3.6×", "2.0×", "4.3×", "1.1×", "2.6×", "1.2×"}
    assert texts["1.7×"][1] == pytest.approx(41.0 * 1.05)
    assert texts["1.7×"][0] < 0 < texts["1.1×"][0]


@pytest.mark.parametrize(("ratio", "text"), [(0.874, "0.87×"), (2.34, "2.3×"), (11.7, "12×")])
def test_a_ratio_has_two_digits(ratio, text, tmp_path):
    (row, *_) = side_tables.peers(methods=("vanilla",))
    study = written(tmp_path, "peers", [row | {"ratio_to_transformers": ratio}])
    assert [shown.get_text() for shown in drawn("peers", study).axes[0].texts] == [text]


@pytest.mark.parametrize("missing", ["selfdraft", "transformers", "economize"])
def test_an_implementation_that_was_not_measured_is_left_out_and_the_others_keep_their_looks(missing, study, tmp_path):
    rows = [row for row in side_tables.peers() if row["implementation"] != missing]
    whole, ax = (drawn("peers", folder).axes[0] for folder in (study, written(tmp_path, "peers", rows)))
    assert labels(ax) == [name for name in ("selfdraft", "transformers", "economize") if name != missing]
    for name in labels(ax):
        one, other = (bars_of(panel, name)[0] for panel in (whole, ax))
        assert (one.get_facecolor(), one.get_hatch()) == (other.get_facecolor(), other.get_hatch())
    assert len({bars_of(ax, name)[0].get_hatch() for name in labels(ax)}) == 2


def test_a_method_without_a_rate_has_no_group(tmp_path):
    rows = [row | ({"tokens_per_second": ""} if row["method"] == "draft model" else {}) for row in side_tables.peers()]
    assert ticks(drawn("peers", written(tmp_path, "peers", rows)).axes[0]) == [
        "vanilla",
        "early\nexit",
        "prompt\nlookup",
    ]


def test_other_methods_and_implementations_follow_those_that_are_known(tmp_path):
    (row, *_) = side_tables.peers(methods=("vanilla",))
    other = row | {"method": "medusa", "implementation": "vllm"}
    ax = drawn("peers", written(tmp_path, "peers", [other, row])).axes[0]
    assert ticks(ax) == ["vanilla", "medusa"]
    assert labels(ax) == ["selfdraft", "vllm"]


def test_devices_are_named_where_there_are_several(tmp_path):
    rows = [row | {"device": device} for device in ("cpu", "cuda") for row in side_tables.peers((("float32", 1),))]
    figure = drawn("peers", written(tmp_path, "peers", rows))
    assert [ax.get_title() for ax in figure.axes] == ["cpu, float32, batch 1", "cuda, float32, batch 1"]


def test_each_mode_has_a_bar_at_each_depth(study):
    step, seconds = drawn("compile", study).axes
    assert ticks(step) == ticks(seconds) == ["8", "16", "30 (full)"]
    assert labels(step) == ["eager", "compile", "compile reduce-overhead", "cuda graph"]
    rows = list(side_tables.compiled())
    for mode in labels(step):
        wanted = [row["step_ms"] for row in rows if row["mode"] == mode]
        assert [bar.get_height() for bar in bars_of(step, mode)] == pytest.approx(wanted)
    assert labels(seconds) == ["compile", "compile reduce-overhead", "cuda graph"]
    wanted = [row["compile_s"] for row in rows if row["mode"] == "compile"]
    assert [bar.get_height() for bar in bars_of(seconds, "compile")] == pytest.approx(wanted)
    assert "0.56" in [text.get_text() for text in seconds.texts]


def test_a_mode_keeps_its_look_in_both_panels(study):
    step, seconds = drawn("compile", study).axes
    for mode in labels(seconds):
        one, other = (bars_of(ax, mode)[0] for ax in (step, seconds))
        assert (one.get_facecolor(), one.get_hatch()) == (other.get_facecolor(), other.get_hatch())


def test_a_mode_without_step_times_is_left_out(tmp_path):
    rows = [row | ({"compile_s": 9.0} if row.get("note") else {}) for row in side_tables.compiled(device="cpu")]
    step, seconds = drawn("compile", written(tmp_path, "compile", rows)).axes
    assert labels(step) == ["eager", "compile"]
    assert labels(seconds) == ["compile"]


def test_a_compile_time_without_step_times_has_no_bar(tmp_path):
    rows = [
        row | ({"step_ms": ""} if (row["mode"], row["depth"]) == ("compile", 16) else {})
        for row in side_tables.compiled()
    ]
    step, seconds = drawn("compile", written(tmp_path, "compile", rows)).axes
    assert len(bars_of(step, "compile")) == len(bars_of(seconds, "compile")) == 2
    assert len(bars_of(step, "eager")) == 3


def test_number_formats_have_a_row_of_panels_each(tmp_path):
    rows = [row | {"dtype": dtype} for dtype in ("float32", "bfloat16") for row in side_tables.compiled()]
    figure = drawn("compile", written(tmp_path, "compile", rows))
    assert [ax.get_title() for ax in figure.axes] == ["bfloat16, batch 1"] * 2 + ["float32, batch 1"] * 2


@pytest.mark.parametrize("name", ROWS)
def test_a_table_without_measurements_says_so(name, tmp_path):
    empty = ("tps", "speedup", "second", "ratio", "_ms", "_s")
    rows = [{k: "" if any(part in k for part in empty) else v for k, v in row.items()} for row in ROWS[name]()]
    assert any("not measured" in word for word in words(drawn(name, written(tmp_path, name, rows))))


def test_each_table_has_its_kind():
    own = {"methods", "heads", "exits", "unverified", "online", "shift"}
    assert set(TABLE) - own == set(ROWS) == set(COLUMN_OF) == set(SIZE_OF) == set(SETTINGS_OF)


def broken(name, how):
    """The rows of a figure's table with one mistake."""
    column, rows = COLUMN_OF[name], list(ROWS[name]())
    size = SIZE_OF[name]
    if how == "a column is missing":
        return [{key: value for key, value in row.items() if key != column} for row in rows]
    changes = {"not a number": {column: "fast"}, "no size": {size: ""}, "size zero": {size: 0}, "twice": {}}
    return [rows[0], rows[1], (rows[1] if how == "twice" else rows[2]) | changes[how]]


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("a column is missing", "column {column} is missing; is this a {file}?"),
        ("not a number", "column {column}, row 3: 'fast' is not a finite number"),
        ("no size", "column {size}, row 3: '' is not a number above 0"),
        ("size zero", "column {size}, row 3: '0' is not a number above 0"),
        ("twice", "row 3: {first}"),
    ],
)
def test_a_broken_table_is_named_with_its_column(name, how, message, tmp_path, capsys):
    study = written(tmp_path, name, broken(name, how))
    assert main(arguments(name, study, tmp_path / "out")) == 2
    said = {
        "column": COLUMN_OF[name],
        "file": TABLE[name],
        "size": SIZE_OF[name],
        "first": SETTINGS_OF[name],
    }
    error = capsys.readouterr().err
    assert f"{study / TABLE[name]}: {message.format(**said)}" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ROWS)
def test_a_table_that_is_not_there_is_named(name, tmp_path, capsys):
    assert main(arguments(name, tmp_path, tmp_path / "out")) == 2
    assert f"{TABLE[name]}: file not found" in capsys.readouterr().err
