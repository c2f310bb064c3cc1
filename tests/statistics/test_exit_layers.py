"""exit_layers.csv: shares are of the drafted tokens, speed is that of results.csv, and old tables are refused."""

import csv
import json

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


def made(folder, drafters=DRAFTERS):
    words = ["--results", folder / "results.csv", "--acceptance", folder / "acceptance.csv", "--settings"]
    words += ['{"resamples": 99}', "--drafters", json.dumps(drafters), "--out", folder / "exit_layers.csv"]
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


def test_a_table_that_does_not_say_where_tokens_left_is_refused_and_so_is_a_study_without_such_drafters(
    tmp_path, capsys
):
    written(tmp_path, {"fast": ("7 7",)}, old=True)
    assert made(tmp_path) == 2
    assert "the acceptance table does not say where its tokens left; measure it again" in capsys.readouterr().err
    assert made(tmp_path, {"many": DRAFTERS["many"]}) == 2
    assert "--drafters: none of kind adaptive_early_exit or dynamic" in capsys.readouterr().err
