"""exit_layers.csv: shares are of the drafted tokens, speed is that of results.csv, and old tables are refused."""

import csv
import json

import numpy as np
import pytest

from selfdraft.cli import main
from selfdraft.statistics.columns import RAW_COLUMNS, SETTINGS

DRAFTERS = {
    "many": {"kind": "exits", "folder": "results/drafters/many"},
    "fast": {"kind": "adaptive_early_exit", "drafter": {"kind": "exits", "folder": "results/drafters/many"}},
    "best": {"kind": "dynamic", "drafter": {"kind": "exits", "folder": "results/drafters/many"}},
    "idle": {"kind": "dynamic", "drafter": {"kind": "exits", "folder": "results/drafters/many"}},
}
POINT = dict.fromkeys(SETTINGS, "") | {"policy": "greedy", "gamma": "4", "dataset": "chats", "drafting": "fixed"}
LEFT = {"fast": ("7 7 14", "14", "", "7 21"), "best": ("21 21", "", "7", "7"), "idle": ("", "", "", "")}
FIXED = POINT | {"drafter": "early_exit", "layer": "14", "T": "1.0", "capacity": "head", "objective": "kl", "seed": "0"}


def written(folder, left=LEFT, old=False):
    cycles = []
    for drafter, found in left.items():
        for number, some in enumerate(found):
            for prompt in range(14):  # of each third one nothing is drafted
                layers = some if prompt % 3 else ""
                cycle = dict.fromkeys(RAW_COLUMNS["acceptance"], "0") | POINT | {"drafter": drafter}
                cycle |= {"prompt": f"p{prompt}", "cycle": number, "drafted": len(layers.split())}
                cycles.append(cycle | ({} if old else {"exit_layers": layers}))
    points = [POINT | {"drafter": name, "accepted_mean": "1", "speedup": "1.5", "speedup_low": "1.4"} for name in left]
    points += [FIXED | {"accepted_mean": "2", "accept_rate": "0.5"}]
    for name, rows in (("acceptance", cycles), ("results", points)):
        columns = list(dict.fromkeys(key for row in rows for key in row))
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            writer.writerows(rows)


def made(folder, drafters=DRAFTERS, more=()):
    words = ["--results", folder / "results.csv", "--acceptance", folder / "acceptance.csv", "--settings"]
    words += ['{"resamples": 99}', "--drafters", json.dumps(drafters), "--out", folder / "exit_layers.csv", *more]
    return main(["exit-layers", *map(str, words)])


def test_each_layer_has_its_share_of_the_drafted_tokens_and_the_points_own_speed(tmp_path):
    written(tmp_path)
    assert made(tmp_path) == 0
    rows = list(csv.DictReader((tmp_path / "exit_layers.csv").open()))
    found = {(row["drafter"], row["layer"]): row for row in rows}
    assert list(found) == [
        *[(name, layer) for name in ("fast", "best") for layer in ("7", "14", "21")],
        ("idle", ""),
        ("early_exit", "14"),
    ]
    assert [float(found["fast", layer]["share"]) for layer in ("7", "14", "21")] == pytest.approx([3 / 6, 2 / 6, 1 / 6])
    assert (found["best", "14"]["share"], found["best", "14"]["left"]) == ("0", "0")  # one of its heads, never the best
    fast, idle, fixed = found["fast", "14"], found["idle", ""], found["early_exit", "14"]
    assert (fast["kind"], fast["heads"], fast["accuracy_level"]) == ("adaptive_early_exit", "many", "0.75")
    assert (fast["rule"], fast["left"], fast["drafted"], fast["prompts"]) == ("learn_then_test", "18", "54", "14")
    assert (fast["speedup"], fast["speedup_low"], fast["share_low"] != "") == ("1.5", "1.4", True)
    assert (idle["share"], idle["speedup"], idle["drafted"]) == ("", "1.5", "0")
    assert (fixed["kind"], fixed["share"], fixed["accept_rate"], fixed["speedup"]) == ("fixed_exit", "1", "0.5", "")


def compared(folder, heads=("7", "14"), levels=("0.5", "0.7")):
    """A study of 16 prompts: an exit at layer 14 is faster than those at 7 and 21, adaptive-0.7 faster by far."""
    trained = folder / "many"
    trained.mkdir(exist_ok=True)
    (trained / "config.json").write_text(json.dumps({"heads": [*map(int, heads)], "capacity": "head", "T": 1}))
    made = {"kind": "exits", "folder": str(trained)}
    drafters = {"many": made, "best": {"kind": "dynamic", "drafter": made}}
    drafters |= {
        f"fast-{level}": {"kind": "adaptive_early_exit", "drafter": made, "accuracy_level": float(level)}
        for level in levels
    }
    gains = {f"fast-{level}": 2 * float(level) for level in levels} | {"best": 0.9, "7": 0.8, "14": 1.0, "21": 3.0}
    cycles, points = [], []
    runs = [{"method": "vanilla", "policy": "greedy", "dataset": "chats", "new_tokens": 10, "decode_s": 10}]
    for name, gain in gains.items():
        point = FIXED | {"layer": name} if name.isdigit() else POINT | {"drafter": name}
        points.append(point | {"accepted_mean": "1", "speedup": str(gain)})
        runs.append(point | {"method": "speculative", "new_tokens": 10, "cycles": 5, "decode_s": 10 / gain})
        cycle = dict.fromkeys(RAW_COLUMNS["acceptance"], "0") | point | {"cycle": 0, "drafted": 2, "accepted": gain}
        cycles.append(cycle | {"exit_layers": "7 14"})
    chance = np.random.default_rng(0)
    hard = chance.lognormal(0, 0.5, 16)
    for name, rows in (("acceptance", cycles), ("speed", runs)):
        rows = [
            row
            | {"prompt": f"p{n}", "repeat": 0, "pair": 0}
            | ({"decode_s": row["decode_s"] * hard[n] * chance.lognormal(0, 0.01)} if name == "speed" else {})
            for n in range(len(hard))
            for row in rows
        ]
        table(folder / f"{name}.csv", [*RAW_COLUMNS[name], "exit_layers"], rows)
    table(folder / "results.csv", list(points[0]), points)
    return drafters


def test_asking_a_head_stands_beside_its_share_by_the_cost_model(tmp_path):
    written(tmp_path)
    rows = [POINT | {"drafter": "vanilla", "step": "vanilla", "seconds": s, "bytes": 1000} for s in (0.1, 0.2, 0.9)]
    for layer, seconds, size in (("7", 0.05, 200), ("14", 0.06, 300)):
        rows += [POINT | {"drafter": "fast", "layer": layer, "step": "ask", "seconds": seconds, "bytes": size}]
    rows += [POINT | {"drafter": "fast", "step": "draft", "seconds": 9}]
    for row in rows:
        row |= {"context": 80, "tokens": 1, "round": 0, "dtype": "float32", "threads": 1, "device": "cpu"}
    table(tmp_path / "steps.csv", rows[0], rows)
    assert made(tmp_path, more=("--steps", tmp_path / "steps.csv")) == 0
    found = {(row["drafter"], row["layer"]): row for row in csv.DictReader((tmp_path / "exit_layers.csv").open())}
    asked = ("ask_ms", "ask_share", "ask_share_by_bytes")
    assert [found["fast", "7"][name] for name in asked] == ["50", "0.25", "0.2"]
    assert [found["fast", "14"][name] for name in asked] == ["60", "0.3", "0.3"]
    assert [found["fast", "21"][name] for name in asked] == ["", "", ""]  # that head was not asked
    assert found["best", "7"]["ask_ms"] == ""


def table(path, columns, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(columns)), restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def test_each_drafter_is_compared_with_the_best_exit_at_its_own_heads_layers_and_the_best_level_as_halves_chose_it(
    tmp_path,
):
    drafters = compared(tmp_path)
    assert made(tmp_path, drafters, ("--speed", tmp_path / "speed.csv")) == 0
    rows = list(csv.DictReader((tmp_path / "exit_layers.csv").open()))
    found = {(row["kind"], row["drafter"]): row for row in rows}
    gained = {"fast-0.5": 0.0, "fast-0.7": 0.4, "best": -0.1}
    for name, gain in gained.items():
        row = found["dynamic" if name == "best" else "adaptive_early_exit", name]
        assert (row["fixed_layers"], row["levels"]) == ("14", "" if name == "best" else name[-3:])  # not 21: no head
        assert float(row["speedup_over_fixed"]) == pytest.approx(gain, abs=0.03)
        assert float(row["speedup_over_fixed_low"]) <= float(row["speedup_over_fixed"]) + 1e-9
        assert float(row["accepted_over_fixed"]) == pytest.approx(gain)
    best, level = found["best_level", "fast-0.7"], found["adaptive_early_exit", "fast-0.7"]
    assert (best["levels"], best["accuracy_level"], best["heads"], best["share"]) == ("0.7", "0.7", "many", "")
    assert best["speedup"] == ""  # it was chosen, so that its own is too good
    assert float(best["speedup_over_fixed"]) == pytest.approx(float(level["speedup_over_fixed"]), abs=1e-9)
    assert float(best["speedup_over_fixed_low"]) > 0.3


def test_without_an_exit_like_its_heads_a_drafter_is_compared_with_none_and_the_row_says_so(tmp_path, capsys):
    drafters = compared(tmp_path, heads=("8",))
    assert made(tmp_path, drafters, ("--speed", tmp_path / "speed.csv")) == 0
    rows = list(csv.DictReader((tmp_path / "exit_layers.csv").open()))
    assert {row["speedup_over_fixed"] for row in rows} == {""}
    assert {row["interval_note"] for row in rows if row["kind"] == "dynamic"} == {
        "no exit was measured alone that is as its heads are"
    }
    (tmp_path / "many" / "config.json").write_text('{"capacity": "head", "T": 1}')
    assert made(tmp_path, drafters, ("--speed", tmp_path / "speed.csv")) == 2
    assert "many/config.json: heads: missing" in capsys.readouterr().err


def test_a_table_that_does_not_say_where_tokens_left_is_refused_and_so_is_a_study_without_such_drafters(
    tmp_path, capsys
):
    written(tmp_path, {"fast": ("7 7",)}, old=True)
    assert made(tmp_path) == 2
    assert "the acceptance table does not say where its tokens left; measure it again" in capsys.readouterr().err
    assert made(tmp_path, {"many": DRAFTERS["many"]}) == 2
    assert "--drafters: none of kind adaptive_early_exit or dynamic" in capsys.readouterr().err
