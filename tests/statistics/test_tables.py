"""results.csv: columns, estimators by hand, what is missing, and bad raw tables."""

import csv
import math

import pandas as pd
import pytest
import synthetic_study as synthetic

from selfdraft.cli import main
from selfdraft.errors import StudyError
from selfdraft.statistics.bootstrap import Bootstrap
from selfdraft.statistics.columns import RAW_COLUMNS, SETTINGS, results_columns
from selfdraft.statistics.tables import make_results, write_results

QUICK = Bootstrap(resamples=199)
SMALL = {"layers": {"layer": [6, 21], "T": [1.0], "capacity": ["head"], "gamma": [2, 4], "policy": ["greedy"]}}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return synthetic.write_study(tmp_path_factory.mktemp("study"), SMALL, conversations=12, prompts=10)


def results(study, quality=True, acceptance=True, speed=True, bandwidth=31.0, bootstrap=QUICK):
    paths = [study / f"{kind}.csv" for kind in ("quality", "acceptance", "speed")]
    paths = [path if wanted else None for path, wanted in zip(paths, (quality, acceptance, speed), strict=True)]
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
    assert columns[-6:] == [
        "identical", "trained_parameters", "trained_bytes", "interval_note", "commit", "config_hash",
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


def test_speed_is_ratios_of_sums_and_the_efficiency_is_what_the_loop_leaves(study):
    raw, row = of_point(study, "speed"), point(results(study)[1], layer="21", gamma="4")
    table = pd.read_csv(study / "speed.csv")
    vanilla, stock = (table[table.method == name] for name in ("vanilla", "transformers"))
    assert float(row["spec_tps"]) == pytest.approx(raw.new_tokens.sum() / raw.decode_s.sum())
    assert float(row["speedup"]) == pytest.approx(vanilla.decode_s.sum() / raw.decode_s.sum())
    assert float(row["speedup_vs_transformers"]) == pytest.approx(stock.decode_s.sum() / raw.decode_s.sum())
    assert float(row["draft_ms"]) == pytest.approx(1e3 * raw.draft_s.sum() / raw.cycles.sum())
    assert float(row["prefill_ms"]) == pytest.approx(1e3 * raw.prefill_s.mean())
    assert float(row["mbu"]) == pytest.approx(raw.bytes_read.sum() / raw.decode_s.sum() / 31e9)
    steps = raw.draft_s.sum() + raw.verify_s.sum()
    assert float(row["predicted_speedup"]) == pytest.approx(vanilla.decode_s.sum() / steps)
    assert float(row["efficiency"]) == pytest.approx(float(row["speedup"]) / float(row["predicted_speedup"]))
    assert float(row["efficiency"]) == pytest.approx(steps / raw.decode_s.sum())
    assert row["peak_memory_mb"] == "1400"


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
    for kind in ("quality", "acceptance", "speed"):
        raw = pd.read_csv(study / f"{kind}.csv", dtype=str, keep_default_na=False).sample(frac=1, random_state=3)
        raw["T"] = raw["T"].replace("1.0", "1")
        raw.to_csv(tmp_path / f"{kind}.csv", index=False)
    assert results(tmp_path) == results(study)


def test_other_points_in_the_table_do_not_change_an_interval(study, tmp_path):
    for kind in ("quality", "acceptance", "speed"):
        raw = pd.read_csv(study / f"{kind}.csv", dtype=str, keep_default_na=False)
        raw[raw["layer"].isin(["21", ""])].to_csv(tmp_path / f"{kind}.csv", index=False)
    found = point(results(tmp_path)[1], layer="21", gamma="4")
    assert found == point(results(study)[1], layer="21", gamma="4")


def test_speedups_are_paired_by_prompt_and_say_if_some_are_missing(study, tmp_path):
    raw = pd.read_csv(study / "speed.csv", dtype=str, keep_default_na=False)
    raw[~((raw["method"] == "vanilla") & (raw["prompt"] == "p0"))].to_csv(tmp_path / "speed.csv", index=False)
    row = point(make_results(None, None, tmp_path / "speed.csv", None, QUICK, "", "")[1], layer="21", gamma="4")
    assert "over 9 shared prompts (speedup, predicted_speedup, efficiency)" in row["interval_note"]
    numeric = raw.assign(decode_s=raw["decode_s"].astype(float))
    shared = numeric[numeric["prompt"] != "p0"]
    ours = shared[(shared["layer"] == "21") & (shared["gamma"] == "4")].decode_s.sum()
    assert float(row["speedup"]) == pytest.approx(shared[shared["method"] == "vanilla"].decode_s.sum() / ours)


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
        make_results(None, tmp_path / "acceptance.csv", None, None, QUICK, "", "")


def test_the_command_writes_the_same_bytes_twice(study, tmp_path):
    def run(out):
        tables = [part for kind in ("quality", "acceptance", "speed") for part in (f"--{kind}", f"{study}/{kind}.csv")]
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
