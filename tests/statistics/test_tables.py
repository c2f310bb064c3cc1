"""results.csv: columns, estimators by hand, what is missing, and bad raw tables."""

import csv
import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest
import synthetic_study as synthetic
from scipy import stats

from selfdraft.cli import main
from selfdraft.commands.results import by_settings, drafter_config
from selfdraft.errors import StudyError
from selfdraft.statistics.bootstrap import Bootstrap
from selfdraft.statistics.columns import RAW_COLUMNS, SETTINGS, results_columns
from selfdraft.statistics.tables import draft_key, make_results, write_results

QUICK = Bootstrap(resamples=199)
SMALL = {"layers": {"layer": [6, 21], "T": [1.0], "capacity": ["head"], "gamma": [2, 4], "policy": ["greedy"]}}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return synthetic.write_study(tmp_path_factory.mktemp("study"), SMALL, conversations=12, prompts=10)


KINDS = ("quality", "acceptance", "speed", "steps")


def results(study, quality=True, acceptance=True, speed=True, steps=True, bandwidth=31.0, bootstrap=QUICK):
    asked = zip(KINDS, (quality, acceptance, speed, steps), strict=True)
    paths = [study / f"{kind}.csv" if wanted else None for kind, wanted in asked]
    return make_results(*paths, bandwidth, bootstrap, "abc123", "0123456789ab")


def point(rows, **settings):
    (row,) = [row for row in rows if all(row[key] == value for key, value in settings.items())]
    return row


def of_point(study, kind, layer=21, gamma=4):
    rows = pd.read_csv(study / f"{kind}.csv")
    rows = rows[rows["layer"] == layer]
    return rows[rows["gamma"] == gamma] if "gamma" in rows else rows


def test_there_is_a_row_per_point_and_the_columns_stand_in_their_order(study):
    columns, rows = results(study)
    assert columns[:10] == list(SETTINGS)
    assert columns[10:13] == ["kl", "kl_low", "kl_high"]
    assert "accept_at_4_high" in columns
    assert "accept_at_5" not in columns
    assert columns[-10:] == [
        "identical", "lossless_against", "trained_parameters", "trained_bytes", "training_tokens", "training_seconds",
        "draft_step_bytes", "interval_note", "commit", "config_hash",
    ]  # fmt: skip
    assert "peak_memory_mb_low" not in columns
    assert [(row["layer"], row["gamma"]) for row in rows] == [("6", "2"), ("6", "4"), ("21", "2"), ("21", "4")]
    assert all(set(row) <= set(columns) for row in rows)
    assert rows[0]["commit"] == "abc123"


def test_quality_is_sums_over_tokens(study):
    raw, row = of_point(study, "quality"), point(results(study)[1], layer="21", gamma="4")
    assert float(row["kl"]) == pytest.approx(raw.kl_sum.sum() / raw.tokens.sum())
    assert float(row["top5"]) == pytest.approx(raw.top5_sum.sum() / raw.tokens.sum())
    assert float(row["perplexity"]) == pytest.approx(math.exp(raw.ce_sum.sum() / raw.tokens.sum()))
    assert float(row["perplexity_high"]) == pytest.approx(math.exp(float(row["ce_high"])))
    assert float(row["kl_low"]) < float(row["kl"]) < float(row["kl_high"])
    assert row["trained_bytes"] == "56623104"


def test_acceptance_leaves_cut_cycles_out_except_in_target_calls(study):
    raw, row = of_point(study, "acceptance"), point(results(study)[1], layer="21", gamma="4")
    whole = raw[raw.cut == 0]
    assert 0 < len(whole) < len(raw)
    assert float(row["accepted_mean"]) == pytest.approx(whole.accepted.sum() / len(whole))
    assert float(row["accept_rate"]) == pytest.approx(whole.accepted.sum() / len(whole) / 4)
    assert float(row["overlap"]) == pytest.approx(whole.overlap_sum.sum() / whole.drafted.sum())
    assert float(row["tv"]) == pytest.approx(1 - float(row["overlap"]))
    assert float(row["tv_low"]) == pytest.approx(1 - float(row["overlap_high"]))
    assert float(row["target_calls_per_token"]) == pytest.approx(len(raw) / raw.new_tokens.sum())
    assert float(row["target_calls_proxy"]) == pytest.approx(1 / (1 + float(row["accepted_mean"])))
    assert row["identical"] == "1"


def test_accept_at_k_is_conditional_and_rebuilds_the_mean(study):
    raw, row = of_point(study, "acceptance"), point(results(study)[1], layer="21", gamma="4")
    whole = raw[raw.cut == 0]
    mean, reached = 0.0, 1.0
    for k in (1, 2, 3, 4):
        among = whole[whole.accepted >= k - 1]
        assert float(row[f"accept_at_{k}"]) == pytest.approx((among.accepted >= k).mean())
        reached *= float(row[f"accept_at_{k}"])
        mean += reached
    assert mean == pytest.approx(float(row["accepted_mean"]))


def middle(values):
    """The mean of the middle half."""
    return stats.trim_mean(values, 0.25)


def test_a_speedup_is_tokens_a_cycle_times_the_middle_ratio_of_neighbouring_steps(study):
    raw, row = of_point(study, "speed"), point(results(study)[1], layer="21", gamma="4")
    table = pd.read_csv(study / "speed.csv")
    vanilla, stock = (table[table.method == name] for name in ("vanilla", "transformers"))
    tokens, cycle = raw.new_tokens.sum() / raw.cycles.sum(), raw.decode_s / raw.cycles
    pairs = raw.merge(vanilla, on=["prompt", "repeat", "pair"], suffixes=("", "_v"))
    assert len(pairs) == len(raw) == 32
    ratio = (pairs.decode_s_v / pairs.new_tokens_v) / (pairs.decode_s / pairs.cycles)
    assert float(row["speedup"]) == pytest.approx(tokens * math.exp(middle(np.log(ratio))), rel=1e-8)
    assert float(row["speedup_low"]) < float(row["speedup"]) < float(row["speedup_high"])
    assert float(row["spec_tps"]) == pytest.approx(tokens / middle(cycle), rel=1e-8)
    assert float(row["draft_ms"]) == pytest.approx(1e3 * middle(raw.draft_s / raw.cycles))
    assert float(row["prefill_ms"]) == pytest.approx(1e3 * middle(raw.prefill_s))
    assert float(row["mbu"]) == pytest.approx(raw.bytes_read.sum() / raw.cycles.sum() / middle(cycle) / 31e9)
    ratio = raw.merge(stock.assign(step=stock.decode_s / stock.new_tokens)[["prompt", "step"]], on="prompt")
    ratio = np.log(ratio.step / (ratio.decode_s / ratio.cycles))
    assert float(row["speedup_vs_transformers"]) == pytest.approx(tokens * math.exp(middle(ratio)))
    overhead = middle(1 - (raw.draft_s + raw.verify_s) / raw.decode_s)
    assert float(row["loop_overhead"]) == pytest.approx(overhead)
    assert row["peak_memory_mb"] == "1400"
    assert (row["disturbed"], row["impossible"]) == ("0", "0")


def changed(study, folder, kind, change):
    """The study with one of its raw tables changed."""
    shutil.copytree(study, folder, dirs_exist_ok=True)
    change(pd.read_csv(study / f"{kind}.csv")).to_csv(folder / f"{kind}.csv", index=False)
    return point(results(folder)[1], layer="21", gamma="4")


def test_a_prediction_shares_no_measurement_with_the_run_that_it_is_compared_with(study, tmp_path):
    """Whatever the speed run measured, the prediction stands; acceptance and steps move it, and nothing else."""
    row = point(results(study)[1], layer="21", gamma="4")
    raw = of_point(study, "acceptance").query("cut == 0")
    steps = of_point(study, "steps").assign(each=lambda t: t.seconds / t.tokens)
    vanilla = pd.read_csv(study / "steps.csv").query("step == 'vanilla'")

    def halfway(table, column="seconds"):  # the runs stand at 160 tokens, between 80 and 240
        return table.groupby("context")[column].median().mean()

    cycle = 4 * halfway(steps.query("step == 'draft'"), "each")
    cycle += halfway(steps.query("step == 'verify' and tokens == 5"))
    ahead = (raw.drafted == 4).all()
    assert ahead
    expected = (1 + raw.accepted.mean()) * halfway(vanilla) / cycle
    assert float(row["predicted_speedup"]) == pytest.approx(expected)
    assert float(row["efficiency"]) == pytest.approx(float(row["speedup"]) / float(row["predicted_speedup"]))
    assert float(row["efficiency"]) != pytest.approx(1 - float(row["loop_overhead"]), abs=1e-6)

    def slower(table):
        ours = table["method"] == "speculative"
        times = ["decode_s", "draft_s", "verify_s"]
        table.loc[ours, times] = 2 * table.loc[ours, times]
        return table

    after = changed(study, tmp_path / "slower", "speed", slower)
    assert float(after["speedup"]) == pytest.approx(0.5 * float(row["speedup"]))
    assert after["predicted_speedup"] == row["predicted_speedup"]
    assert float(after["efficiency"]) == pytest.approx(0.5 * float(row["efficiency"]))
    other = changed(
        study, tmp_path / "steps", "steps", lambda t: t.assign(seconds=t.seconds * (1 + (t.step == "draft")))
    )
    assert float(other["predicted_speedup"]) < 0.8 * float(row["predicted_speedup"])
    assert other["speedup"] == row["speedup"]
    none = changed(study, tmp_path / "none", "acceptance", lambda t: t.assign(accepted=0))
    assert float(none["predicted_speedup"]) == pytest.approx(expected / (1 + raw.accepted.mean()))
    assert none["speedup"] == row["speedup"]


def test_a_speedup_above_what_its_acceptance_can_give_is_flagged(study, tmp_path):
    def stalled(table):  # vanilla alone was held up, all the time: nothing robust about the runs can know
        table.loc[table["method"] == "vanilla", "decode_s"] *= 3
        return table

    row = changed(study, tmp_path / "stalled", "speed", stalled)
    assert float(row["speedup"]) > 2 * float(row["predicted_speedup"])
    assert row["impossible"] == "1"


def test_a_few_bad_runs_hardly_move_a_speedup_and_are_counted(study, tmp_path):
    def held_up(table):
        bad = np.random.default_rng(3).random(len(table)) < 0.1
        table.loc[bad, ["decode_s", "verify_s"]] *= 10
        return table.assign(disturbed=bad.astype(int))

    before = point(results(study)[1], layer="21", gamma="4")
    row = changed(study, tmp_path / "bad", "speed", held_up)
    assert float(row["speedup"]) == pytest.approx(float(before["speedup"]), rel=0.03)
    assert float(row["draft_ms"]) == pytest.approx(float(before["draft_ms"]), rel=0.03)
    assert 0.02 < float(row["disturbed"]) < 0.25


def test_steps_of_another_number_of_threads_are_told(study, tmp_path):
    row = changed(study, tmp_path / "threads", "steps", lambda t: t.assign(threads=1))
    assert "steps were timed with 1 threads, runs with 2 (predicted_speedup)" in row["interval_note"]


def test_repeats_of_a_prompt_are_one_unit(tmp_path):
    once = synthetic.write_study(tmp_path / "once", SMALL, speed_prompts=6, repeats=1)
    often = synthetic.write_study(tmp_path / "often", SMALL, speed_prompts=6, repeats=3)
    for study in (once, often):
        row = results(study)[1][0]
        assert row["speedup"]
        assert row["speedup_low"] == row["speedup_high"] == ""
        assert "6 prompts, 8 needed" in row["interval_note"]


def test_what_was_not_measured_is_empty_and_never_zero(study, tmp_path):
    columns, rows = results(study, speed=False, bandwidth=None)
    write_results(tmp_path / "results.csv", columns, rows)
    with (tmp_path / "results.csv").open() as file:
        for row in csv.DictReader(file):
            assert row["kl"]
            assert row["accepted_mean"]
            assert all(row[name] == "" for name in ("speedup", "speedup_low", "vanilla_tps", "mbu", "efficiency"))
    row = point(rows, layer="6", gamma="2")
    assert "accept_at_3" not in row or row["accept_at_3"] == ""
    assert "mbu" not in point(results(study, bandwidth=None)[1], layer="6", gamma="2")
    only_speed = point(results(study, quality=False, acceptance=False)[1], layer="6", gamma="2")
    assert only_speed["speedup"]
    assert "kl" not in only_speed


def test_a_checkpoint_with_quality_alone_keeps_its_row(study):
    rows = results(study, acceptance=False, speed=False)[1]
    assert [(row["layer"], row["policy"], row["gamma"]) for row in rows] == [("6", "", ""), ("21", "", "")]


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """Points of one draft on its own data set, and on others: quality alone, acceptance alone, both."""
    sweeps = {"domains": synthetic.OF_DOMAINS}
    folder = tmp_path_factory.mktemp("elsewhere")
    own = synthetic.write_study(folder / "own", sweeps, conversations=12, prompts=10)
    return synthetic.write_domains(own, folder / "all", conversations=12, prompts=10)


def test_each_data_set_has_rows_of_its_own_with_what_was_measured_on_it(elsewhere):
    rows = [row for row in results(elsewhere)[1] if row["capacity"] == "head"]
    by_set = {row["dataset"]: row for row in rows}
    assert len(by_set) == len(rows) == 4
    found = {name: tuple(key in row for key in ("kl", "accepted_mean", "speedup")) for name, row in by_set.items()}
    assert found == {
        "sharegpt": (True, True, True),
        "news": (True, False, False),
        "code": (False, True, False),
        "other_chats": (True, True, False),
    }
    assert by_set["news"]["policy"] == by_set["news"]["gamma"] == ""
    raw = {kind: pd.read_csv(elsewhere / f"{kind}.csv") for kind in ("quality", "acceptance")}
    for dataset, row in by_set.items():
        part = {kind: table[(table.dataset == dataset) & (table.capacity == "head")] for kind, table in raw.items()}
        if "kl" in row:
            assert float(row["kl"]) == pytest.approx(part["quality"].kl_sum.sum() / part["quality"].tokens.sum())
        if "accepted_mean" in row:
            assert float(row["accepted_mean"]) == pytest.approx(part["acceptance"].query("cut == 0").accepted.mean())


def test_what_is_measured_on_other_text_changes_nothing_on_the_studys_own(elsewhere):
    own = [row for row in results(elsewhere)[1] if row["dataset"] == "sharegpt" and row["drafter"] == "early_exit"]
    assert own == results(elsewhere.parent / "own")[1]


def test_lookup_has_a_row_on_each_data_set_with_prompts_and_no_quality(elsewhere):
    rows = [row for row in results(elsewhere)[1] if row["drafter"] == "lookup"]
    assert {row["dataset"] for row in rows} == {"sharegpt", "code", "other_chats"}
    assert not any("kl" in row for row in rows)


def test_the_order_of_the_raw_rows_and_the_spelling_of_numbers_do_not_matter(study, tmp_path):
    for kind in KINDS:
        raw = pd.read_csv(study / f"{kind}.csv", dtype=str, keep_default_na=False).sample(frac=1, random_state=3)
        raw["T"] = raw["T"].replace("1.0", "1")
        raw.to_csv(tmp_path / f"{kind}.csv", index=False)
    assert results(tmp_path) == results(study)


def test_other_points_in_the_table_do_not_change_an_interval(study, tmp_path):
    for kind in KINDS:
        raw = pd.read_csv(study / f"{kind}.csv", dtype=str, keep_default_na=False)
        raw[raw["layer"].isin(["21", ""])].to_csv(tmp_path / f"{kind}.csv", index=False)
    found = point(results(tmp_path)[1], layer="21", gamma="4")
    assert found == point(results(study)[1], layer="21", gamma="4")


def test_speedups_are_paired_by_prompt_and_say_if_some_are_missing(study, tmp_path):
    raw = pd.read_csv(study / "speed.csv", dtype=str, keep_default_na=False)
    raw[~((raw["method"] == "vanilla") & (raw["prompt"] == "p0"))].to_csv(tmp_path / "speed.csv", index=False)
    row = point(make_results(None, None, tmp_path / "speed.csv", None, None, QUICK, "", "")[1], layer="21", gamma="4")
    assert "over 15 shared prompts (speedup)" in row["interval_note"]
    raw[raw["prompt"] != "p0"].to_csv(tmp_path / "speed.csv", index=False)
    shared = make_results(None, None, tmp_path / "speed.csv", None, None, QUICK, "", "")[1]
    assert row["speedup"] == point(shared, layer="21", gamma="4")["speedup"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns=["accepted", "cut"]), "acceptance.csv: column accepted, cut is missing"),
        (lambda t: t.iloc[:0], "acceptance.csv: the table has a header and no rows"),
        (lambda t: t.assign(accepted="many"), "column accepted, row 1: 'many' is not a finite number"),
        (lambda t: t.assign(accepted="nan"), "column accepted, row 1: 'nan' is not a finite number"),
        (lambda t: t.assign(layer="deep"), "column layer: 'deep' is not a number"),
        (lambda t: t.assign(dtype=["a", *["b"] * (len(t) - 1)]), "column dtype: .* mixes 'a', 'b'"),
    ],
)
def test_a_bad_table_is_named_with_its_column(study, tmp_path, change, message):
    raw = pd.read_csv(study / "acceptance.csv", dtype=str, keep_default_na=False)
    change(raw).to_csv(tmp_path / "acceptance.csv", index=False)
    with pytest.raises(StudyError, match=message):
        make_results(None, tmp_path / "acceptance.csv", None, None, None, QUICK, "", "")


def test_the_command_writes_the_same_bytes_twice(study, tmp_path):
    def run(out):
        tables = [part for kind in KINDS for part in (f"--{kind}", f"{study}/{kind}.csv")]
        settings = ["--settings", '{"resamples": 99}', "--commit", "abc", "--config-hash", "123"]
        machine = ["--machine", f"{study}/machine.json"]
        return main(["results", *tables, *machine, *settings, "--out", str(out)])

    assert run(tmp_path / "a.csv") == run(tmp_path / "b.csv") == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    header = (tmp_path / "a.csv").read_text().splitlines()[0]
    assert header == ",".join(results_columns(4))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ('{"resample": 10}', "--settings: resample: unknown key"),
        ('{"resamples": 0}', "resamples: 0 is not a whole number >= 1"),
        ('{"confidence": 95}', "confidence: 95 is not between 0 and 1"),
        ("{", "--settings: not valid JSON"),
    ],
)
def test_bad_settings_end_with_one_line(study, tmp_path, capsys, settings, message):
    command = ["results", "--quality", f"{study}/quality.csv", "--settings", settings]
    assert main([*command, "--out", str(tmp_path / "results.csv")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_bad_machine_files_and_missing_tables_end_with_one_line(study, tmp_path, capsys):
    machine = tmp_path / "machine.json"
    machine.write_text('{"read_bandwidth_gb_s": 0}')
    out = ["--out", str(tmp_path / "results.csv")]
    assert main(["results", "--speed", f"{study}/speed.csv", "--machine", str(machine), *out]) == 2
    assert "read_bandwidth_gb_s: 0 is not a number > 0" in capsys.readouterr().err
    assert main(["results", "--speed", f"{tmp_path}/none.csv", *out]) == 2
    assert "none.csv: file not found" in capsys.readouterr().err
    assert main(["results", *out]) == 2


def test_the_synthetic_tables_have_the_columns_of_the_raw_tables(study):
    for kind, columns in RAW_COLUMNS.items():
        assert (study / f"{kind}.csv").read_text().splitlines()[0] == ",".join(columns)


def test_what_training_took_stands_in_the_rows_of_its_draft_alone(study):
    exit_ = {"drafter": "early_exit", "layer": 21, "T": 1, "capacity": "head", "objective": "kl", "seed": 0}
    told = [
        exit_ | {"training_tokens": 44000, "training_seconds": 61.5, "draft_step_bytes": 2e8},
        {"drafter": "eagle", "seed": 3, "training_tokens": 7},
    ]
    paths = [study / f"{kind}.csv" for kind in KINDS]
    _, rows = make_results(*paths, None, QUICK, "", "", {draft_key(config): config for config in told})
    for row in rows:
        found = tuple(row.get(name, "") for name in ("training_tokens", "training_seconds", "draft_step_bytes"))
        assert found == (("44000", "61.5", "200000000") if row["layer"] == "21" else ("", "", ""))
        assert row["trained_parameters"]


def test_a_row_says_whose_text_its_draft_leaves_as_it_is(study, tmp_path):
    exit_ = {"drafter": "early_exit", "layer": 21, "T": 1, "capacity": "head", "objective": "kl", "seed": 0}
    (tmp_path / "config.json").write_text(json.dumps(exit_ | {"kind": "dvi", "lossless_against": "adapted"}))
    paths = [study / f"{kind}.csv" for kind in KINDS]
    _, rows = make_results(*paths, None, QUICK, "", "", by_settings([drafter_config(str(tmp_path))]))
    said = {"21": "adapted", "6": "base"}
    assert [row["lossless_against"] for row in rows] == [said[row["layer"]] for row in rows]
    quantised = changed(study, tmp_path / "nf4", "acceptance", lambda table: table.assign(dtype="float32+nf4"))
    assert quantised["lossless_against"] == "base (nf4 weights)"
    assert ("early_exit", "", "", "", "", "") in by_settings([drafter_config(str(tmp_path))])
    assert drafter_config(f"other={tmp_path}") == {"drafter": "other", "lossless_against": "adapted"}


def test_a_drafter_that_is_no_exit_is_known_by_its_name_alone():
    assert draft_key({"drafter": "eagle", "seed": 3, "training_tokens": 7}) == ("eagle", "", "", "", "", "")
