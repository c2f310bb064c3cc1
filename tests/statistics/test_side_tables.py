"""Raw rows of batch, lengths, peers and identity become tables whose values can be checked by hand."""

import csv

import pytest

from selfdraft.cli import main
from selfdraft.errors import StudyError
from selfdraft.statistics.bootstrap import Bootstrap
from selfdraft.statistics.columns import SETTINGS, SPEED_SUMS
from selfdraft.statistics.side_tables import batch_table, identity_table, lengths_table, peers_table

BOOTSTRAP = Bootstrap(200)


def write(path, rows):
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def settings(**changed):
    return dict.fromkeys(SETTINGS, "") | {"drafter": "early_exit", "policy": "greedy", "drafting": "fixed"} | changed


def batch_rows():
    where = {"dtype": "bfloat16", "threads": 2, "device": "cpu"}
    rows = []
    for group in range(9):
        both = {"batch": 4, "group": group, "new_tokens": 40, **where}
        slow, fast = 4.0 + 0.1 * group, 2.0 + 0.1 * (group % 3)
        vanilla = settings(drafter="vanilla") | {"method": "vanilla", "decode_s": slow, "cycles": "", "accepted": ""}
        ours = settings(gamma=4) | {"method": "speculative", "decode_s": fast, "cycles": 10, "accepted": 30}
        rows += [vanilla | both, ours | both]
    return rows


def test_a_batch_is_a_unit_and_the_speedup_a_ratio_of_sums(tmp_path):
    columns, (row,) = batch_table(write(tmp_path / "raw.csv", batch_rows()), BOOTSTRAP)
    slow, fast = sum(4.0 + 0.1 * g for g in range(9)), sum(2.0 + 0.1 * (g % 3) for g in range(9))
    assert float(row["speedup"]) == pytest.approx(slow / fast)
    assert float(row["speedup_low"]) < float(row["speedup"]) < float(row["speedup_high"])
    assert float(row["vanilla_tps"]) == pytest.approx(360 / slow)
    assert float(row["accepted_mean"]) == 3
    assert (row["batch"], row["batches"], row["gamma"]) == ("4", "9", "4")
    assert set(row) <= set(columns)


def test_batches_that_only_one_method_ran_are_refused(tmp_path):
    rows = batch_rows()
    with pytest.raises(StudyError, match="ran different batches"):
        batch_table(write(tmp_path / "less.csv", rows[:-2] + rows[-1:]), BOOTSTRAP)
    with pytest.raises(StudyError, match="no vanilla rows for policy greedy and batch 4"):
        batch_table(write(tmp_path / "none.csv", rows[1::2]), BOOTSTRAP)


def length_rows(prompts=9, bad=0):
    """A vanilla token takes 0.1 s, a cycle 0.16 s with 2 tokens (3 at length 80); `bad` runs take ten times as long."""
    rows = []
    for length, tokens in ((40, 2), (80, 3)):
        for number in range(prompts):
            run = dict.fromkeys(SPEED_SUMS, 0.01) | {"dtype": "bfloat16", "threads": 2, "device": "cpu", "disturbed": 0}
            run |= {"prompt": f"p{number}", "pair": 0, "length": length, "prefill_s": 0.5}
            slow, fast = 0.1 * (1 + 0.01 * number), 0.16 * (1 + 0.01 * number) * (10 if number < bad else 1)
            cycles = 20 + number % 2
            ours = {
                "cycles": cycles,
                "target_calls": cycles,
                "accepted": cycles * (tokens - 1),
                "decode_s": cycles * fast,
            }
            ours |= {"method": "speculative", "new_tokens": cycles * tokens, "disturbed": int(number < bad)}
            theirs = {"method": "vanilla", "new_tokens": length, "target_calls": length, "decode_s": length * slow}
            rows.append(settings(drafter="vanilla") | run | theirs | {"cycles": "", "accepted": ""})
            rows.append(settings(drafter="lookup", gamma=4) | run | ours)
    return rows


def test_a_length_has_the_speed_of_its_own_runs_and_both_sides_of_it(tmp_path):
    columns, (short, long) = lengths_table(write(tmp_path / "raw.csv", length_rows()), BOOTSTRAP)
    assert (short["length"], long["length"], short["samples"], short["gamma"]) == ("40", "80", "9", "4")
    for row, tokens in ((short, 2), (long, 3)):
        assert float(row["speedup"]) == pytest.approx(tokens * 0.1 / 0.16)
        assert float(row["vanilla_s"]) == pytest.approx(float(row["length"]) * 0.104, rel=1e-3)  # the middle prompt's
        assert float(row["spec_s"]) == pytest.approx(float(row["vanilla_s"]) / float(row["speedup"]), rel=1e-6)
        assert float(row["spec_s_low"]) < float(row["spec_s"]) < float(row["spec_s_high"])
        assert float(row["vanilla_tps"]) == pytest.approx(float(row["length"]) / float(row["vanilla_s"]))
        assert row["vanilla_calls_per_token"] == "1"
        assert float(row["target_calls_per_token"]) == pytest.approx(1 / tokens)
        assert float(row["accept_rate"]) == (tokens - 1) / 4
        assert float(row["prefill_ms"]) == pytest.approx(500)
        assert set(row) <= set(columns)


def test_two_bad_runs_of_nine_hardly_move_a_length_and_are_told(tmp_path):
    (quiet, _), (bad, _) = (
        lengths_table(write(tmp_path / f"{count}.csv", length_rows(bad=count)), BOOTSTRAP)[1] for count in (0, 2)
    )
    assert float(bad["speedup"]) == pytest.approx(float(quiet["speedup"]), rel=0.02)
    assert (quiet["disturbed"], float(bad["disturbed"])) == ("0", pytest.approx(2 / 18))


def test_lengths_without_vanilla_runs_of_the_same_prompts_are_refused(tmp_path):
    rows = length_rows()
    with pytest.raises(StudyError, match="vanilla and speculative ran different prompts"):
        lengths_table(write(tmp_path / "less.csv", rows[2:] + rows[1:2]), BOOTSTRAP)
    with pytest.raises(StudyError, match="no vanilla rows for policy greedy and length 40"):
        lengths_table(write(tmp_path / "none.csv", rows[1:18:2]), BOOTSTRAP)


def test_few_prompts_have_no_interval(tmp_path):
    _, (row, _) = lengths_table(write(tmp_path / "raw.csv", length_rows(3)), BOOTSTRAP)
    assert row["speedup"]
    assert {row[f"{name}_low"] for name in ("speedup", "spec_s", "accept_rate")} == {""}


def peers_rows():
    fixed = {"dtype": "bfloat16", "threads": 2, "device": "cpu", "version": "1", "batch": 1, "new_tokens": 64}
    rows = []
    for group in range(8):
        for implementation, method, seconds, cycles in (
            ("selfdraft", "vanilla", 1.0, ""),
            ("transformers", "vanilla", 2.0, ""),
            ("selfdraft", "early exit", 1.0 + 0.01 * group, 32),
            ("transformers", "early exit", 3.0, 32),
            ("economize", "draft model", 3.0, 16),
        ):
            row = {"method": method, "implementation": implementation, "seconds": seconds, "cycles": cycles}
            row |= {"accepted": "" if cycles == "" else 64 - cycles, "identical": 0.5 if group else 1, "group": group}
            rows.append(row | fixed)
    return rows


def test_peers_are_compared_with_transformers_same_method(tmp_path):
    _, rows = peers_table(write(tmp_path / "raw.csv", peers_rows()), BOOTSTRAP)
    found = {(row["implementation"], row["method"]): row for row in rows}
    assert float(found["selfdraft", "vanilla"]["ratio_to_transformers"]) == 2
    assert float(found["transformers", "early exit"]["ratio_to_transformers"]) == 1
    ours = found["selfdraft", "early exit"]
    assert float(ours["ratio_to_transformers"]) == pytest.approx(24 / 8.28)
    assert float(ours["accepted_mean"]) == 1
    assert float(ours["identical"]) == pytest.approx((1 + 7 * 0.5) / 8)
    assert found["selfdraft", "vanilla"]["accepted_mean"] == ""
    assert found["economize", "draft model"]["ratio_to_transformers"] == ""  # transformers did not run it


def test_identity_is_a_share_with_every_divergence_listed(tmp_path):
    rows = []
    for dtype in ("float32", "bfloat16"):
        for number in range(10):
            apart = dtype == "bfloat16" and number < 3
            row = {
                "dtype": dtype,
                "device": "cpu",
                "prompt": f"p{number}",
                "new_tokens": 128,
                "identical": int(not apart),
            }
            row |= {"first_divergence": 10 * number if apart else "", "top2_gap": 0.25 * number if apart else ""}
            rows.append(settings() | row)
    _, (exact, rounded) = identity_table(write(tmp_path / "raw.csv", rows), BOOTSTRAP)
    assert (exact["identical"], exact["divergences"], exact["top2_gap_max"]) == ("1", "0", "")
    assert exact["first_divergences"] == ""
    assert float(rounded["identical"]) == 0.7
    assert float(rounded["identical_low"]) < 0.7 < float(rounded["identical_high"])
    assert rounded["first_divergences"] == "0:0;10:0.25;20:0.5"
    assert (float(rounded["top2_gap_median"]), float(rounded["top2_gap_max"])) == (0.25, 0.5)


def test_a_missing_column_and_a_word_for_a_number_are_named(tmp_path, capsys):
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in peers_rows()]
    path = write(tmp_path / "raw.csv", rows)
    assert main(["summary", "peers", "--table", str(path), "--out", str(tmp_path / "out.csv")]) == 2
    assert f"{path}: column seconds is missing" in capsys.readouterr().err
    path = write(tmp_path / "bad.csv", [row | {"seconds": "slow"} for row in peers_rows()])
    assert main(["summary", "peers", "--table", str(path), "--out", str(tmp_path / "out.csv")]) == 2
    assert "column seconds, row 1: 'slow' is not a finite number" in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()
