"""Auxiliary heads on a tiny study: trained together, looked at, calibrated, drafted with; and what is refused."""

import csv
import itertools
import json
import re
import shutil

import pytest
from safetensors.torch import load_file, save_file
from tiny import tiny_target
from training.runs import DATA, dispatch_stage, prepare

from selfdraft.calibration.exits import LEVELS, level_text
from selfdraft.calibration.measures import MEASURES
from selfdraft.calibration.rules import RULES
from selfdraft.cli import main

TRAINING = {"dtype": "float32", "tokens_per_step": 120, "evaluations": 1}
SETTINGS = {"kind": "exits", "heads": [2, 0], "capacity": "translator", "training": TRAINING}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder with target, data, states, and heads that are trained and calibrated."""
    folder = tmp_path_factory.mktemp("heads")
    prepare(folder, DATA | {"held_out_tokens": 1500, "train_tokens": 1200, "prompts": 8})
    dispatch_stage(*training(folder, "heads", capture="1 3"))
    dispatch_stage(*calibrating(folder))
    return folder


def training(folder, out, *more, settings=SETTINGS, capture=None):
    if capture:
        words = ["--target", folder / "target", "--data", folder / "data", "--dtype", "float32"]
        dispatch_stage("capture", *words, "--depths", *capture.split(), "--out-dir", folder / "states")
        more = ("--capture", folder / "states", *more)
    stated = ["--target", folder / "target", "--data", folder / "data", "--name", "many"]
    return ["train-drafter", *stated, "--settings", json.dumps(settings), "--out-dir", folder / out, *more]


def calibrating(folder, *more, command="calibrate", drafter="heads"):
    words = ["--target", folder / "target", "--data", folder / "data", "--drafter", folder / drafter]
    return [command, *words, "--dtype", "float32", *more]


def adaptive(folder, **settings):
    made = {"kind": "adaptive_early_exit", "drafter": {"kind": "exits", "folder": str(folder)}, **settings}
    return json.dumps({"fast": made})


def calibration(study):
    return json.loads((study / "heads/calibration.json").read_text())


def lowest(study):
    """The level and rule that most heads reach, so that some tokens leave."""
    return {"accuracy_level": 0.5, "rule": "empirical"}


def test_the_folder_holds_each_head_as_if_it_had_been_trained_alone(study):
    config = json.loads((study / "heads/config.json").read_text())
    assert (config["kind"], config["heads"], config["capacity"]) == ("exits", [0, 2], "translator")
    tensors = load_file(study / "heads/aux_heads.safetensors")
    assert {name.partition(".")[0] for name in tensors} == {"layer0", "layer2"}
    assert config["trained_parameters"] == sum(tensor.numel() for tensor in tensors.values())
    log = [json.loads(line) for line in (study / "heads/train_log.jsonl").read_text().splitlines()]
    assert {row["layer"] for row in log} == {0, 2}
    words = ["--target", study / "target", "--data", study / "data", "--settings", json.dumps(TRAINING)]
    alone = ["--layer", 2, "--T", 1, "--capacity", "translator", "--capture", study / "states"]
    dispatch_stage("train", *words, *alone, "--out-dir", study / "alone")
    for name, tensor in load_file(study / "alone/draft.safetensors").items():
        assert tensor.allclose(tensors[f"layer2.{name}"], rtol=1e-2, atol=1e-4), name
    kl = config["summaries"]["layer2"]
    assert kl["validation_kl"] < kl["untrained_validation_kl"] + 1e-9


def test_heads_that_stand_evenly_are_trained_on_states_that_nobody_has_captured(study):
    settings = {"kind": "exits", "num_heads": 3, "capacity": "norm", "training": TRAINING | {"objective": "none"}}
    dispatch_stage(*training(study, "spread", settings=settings))
    config = json.loads((study / "spread/config.json").read_text())
    assert config["heads"] == [0, 1, 2]
    assert config["settings"]["training"]["mode"] == "online"


def test_the_calibration_says_for_each_head_measure_rule_and_level_what_is_promised(study):
    found = calibration(study)
    assert found["conversations"]["calibrated"] >= 5
    for layer in ("0", "2"):
        of_head = found["thresholds"][layer]
        assert set(of_head) == set(MEASURES)
        for measure in MEASURES:
            assert set(of_head[measure]) == set(RULES)
            for rule in RULES:
                levels = of_head[measure][rule]
                assert list(levels) == [level_text(level) for level in LEVELS]
                for level, made in levels.items():
                    if made["threshold"] is None:
                        assert "conversations_needed" in made
                    else:
                        assert made["risk"] <= 1 - float(level) + 1e-9
                        assert 0 <= made["observed_risk"] <= 1
                        assert 0 <= made["exit_rate"] <= 1
    assert "tokens that leave early" in found["joint_risk"]
    for measure, level in itertools.product(MEASURES, ("0.50", "0.95")):
        made = found["joint"][measure]["learn_then_test"][level]
        assert (made["threshold"] is None) == (level == "0.95")  # five conversations promise 0.50 alone
        assert level == "0.95" or made["risk"] <= 0.5
        assert level == "0.95" or 0 <= made["observed_risk"] <= 1
    strict = found["thresholds"]["0"]["entropy"]["learn_then_test"]["0.95"]
    assert strict["threshold"] is None  # a few conversations cannot promise it
    assert strict["conversations_needed"] is None or strict["conversations_needed"] >= 59


def test_no_harm_is_calibrated_on_request_and_asked_for_by_the_drafter(study, tmp_path, capsys):
    out = tmp_path / "heads"
    shutil.copytree(study / "heads", out)
    words = calibrating(study, "--risk", "no_harm", "--gamma", 2, "--out", out / "calibration.json")
    dispatch_stage(*words)
    assert "no harm at gamma 2, costs by bytes: " in capsys.readouterr().out
    found = json.loads((out / "calibration.json").read_text())
    assert {name: found[name] for name in calibration(study)} == calibration(study)  # all else is as without
    own = found["no_harm"]
    split = own["conversations"]
    assert split["ordered"] + split["tested"] == found["conversations"]["calibrated"]
    assert 0 < split["ordered"] < split["tested"]
    assert own["vanilla_steps"]["verify"] == [1.0, 1.0, 1.0]
    shallow, deep = own["vanilla_steps"]["reach"]
    assert 0 < own["vanilla_steps"]["ask"][0] < shallow < deep < 1.5
    levels = own["thresholds"]["entropy"]["empirical"]
    levels["0.50"] = {"threshold": 100.0, "heads": [2], "risk": 0.5}  # always sure
    (out / "calibration.json").write_text(json.dumps(found))
    common = ["--target", study / "target", "--data", study / "data", "--points", '{"greedy": [["fast", 4]]}']
    common += ["--policies", '{"greedy": {"temperature": 0.0}}', "--out", tmp_path / "acceptance.csv"]
    asked = adaptive(out, risk="no_harm", **lowest(study))
    dispatch_stage("acceptance", *common, "--drafters", asked)
    rows = list(csv.DictReader((tmp_path / "acceptance.csv").open()))
    assert {layer for row in rows for layer in row["exit_layers"].split()} == {"2"}
    assert max(int(row["drafted"]) for row in rows) == 2  # as many as the promise is of, not gamma
    assert {row["identical"] for row in rows} == {"1"}
    assert main(generating(study, "--checkpoint", out, *LEVEL, "--risk", "no_harm")) == 0
    assert " after layer 2]" in capsys.readouterr().out
    asked = adaptive(study / "heads", risk="no_harm")
    assert main([*map(str, ["acceptance", *common, "--drafters", asked])]) == 2
    assert "drafters.fast.risk: not calibrated for no_harm; run `selfdraft calibrate --risk no_harm` again" in (
        capsys.readouterr().err
    )
    for wrong, told in (
        (("--risk", "harm"), "--risk: 'harm' is unknown; one of disagreement, no_harm is right"),
        (("--costs", "joules"), "--costs: 'joules' is unknown; one of bytes, clock is right"),
        (("--gamma", 0), "--gamma: 0 is not ≥ 1"),
    ):
        assert main([*map(str, calibrating(study, *wrong))]) == 2
        assert told in capsys.readouterr().err


def test_by_the_clock_the_parts_of_a_cycle_take_as_long_as_they_take(study, tmp_path):
    out = tmp_path / "calibration.json"
    dispatch_stage(*calibrating(study, "--risk", "no_harm", "--costs", "clock", "--gamma", 2, "--out", out))
    costs = json.loads(out.read_text())["no_harm"]["vanilla_steps"]
    assert [len(costs[name]) for name in ("reach", "ask", "verify")] == [2, 2, 3]
    assert all(value > 0 for values in costs.values() for value in values)


def test_the_steps_of_a_drafter_that_asks_heads_have_a_row_for_each_head_asked(study, tmp_path):
    common = ["--target", study / "target", "--data", study / "data", "--points", '[["fast", 4]]']
    words = ["--policy", "greedy", "--policy-settings", '{"temperature": 0.0}', "--dtype", "float32"]
    words += ["--drafters", adaptive(study / "heads", **lowest(study))]
    words += ["--settings", '{"contexts": [20], "rounds": 2}']
    dispatch_stage("steps", *common, *words, "--out", tmp_path / "steps.csv")
    rows = list(csv.DictReader((tmp_path / "steps.csv").open()))
    asks = [row for row in rows if row["step"] == "ask"]
    assert {(row["drafter"], row["tokens"]) for row in asks} == {("fast", "1")}
    assert {row["layer"] for row in asks} <= {"0", "2"}
    assert all(float(row["seconds"]) > 0 for row in asks)
    (whole,) = {int(row["bytes"]) for row in rows if row["step"] == "vanilla"}
    assert all(0 < int(row["bytes"]) < whole for row in asks)
    assert {row["bytes"] for row in rows if row["step"] in ("draft", "verify")} <= {""}


def test_the_table_of_heads_has_a_row_each_with_intervals(study):
    out = study / "heads.csv"
    dispatch_stage(
        *calibrating(study, "--output-path", out, "--settings", '{"resamples": 99}', command="evaluate-heads")
    )
    rows = list(csv.DictReader(out.open()))
    assert [row["layer"] for row in rows] == ["0", "2"]
    for row in rows:
        for name in ("agreement", "accuracy", "overlap", "ece_target", "ece_labels"):
            assert 0 <= float(row[f"{name}_low"]) <= float(row[name]) <= float(row[f"{name}_high"]) <= 1
        assert int(row["conversations"]) >= 10
    assert float(rows[1]["agreement"]) > float(rows[0]["agreement"])  # the deeper head knows more
    assert rows[0]["target_accuracy"] == rows[1]["target_accuracy"]


def test_the_curves_of_heads_end_at_their_agreement_and_can_be_drawn(study, capsys):
    out, drawn = study / "heads.csv", study / "drawn"
    words = ["--output-path", out, "--curves", study / "head_curves.csv", "--settings", '{"resamples": 99}']
    dispatch_stage(*calibrating(study, *words, command="evaluate-heads"))
    points = list(csv.DictReader((study / "head_curves.csv").open()))
    for row in csv.DictReader(out.open()):
        of_head = [point for point in points if point["layer"] == row["layer"]]
        by_threshold = [point for point in of_head if point["curve"] == "threshold"]
        bins = [point for point in of_head if point["curve"] == "reliability"]
        rates = [float(point["exit_rate"]) for point in by_threshold]
        assert rates == sorted(rates)
        assert rates[-1] == 1  # no entropy is above the last threshold
        assert float(by_threshold[-1]["agreement"]) == pytest.approx(float(row["agreement"]))
        assert sum(int(point["tokens"]) for point in bins) == int(row["tokens"])
        agreeing = sum(int(point["tokens"]) * float(point["agreement"]) for point in bins)
        assert agreeing / int(row["tokens"]) == pytest.approx(float(row["agreement"]))
    dispatch_stage("figure", "heads", "--table", study / "head_curves.csv", "--out-dir", drawn)
    assert {path.name for path in drawn.iterdir()} == {"heads.pdf", "heads.png"}


def test_what_drafts_with_them_says_what_the_target_says(study):
    common = ["--target", study / "target", "--data", study / "data"]
    points = ["--points", '{"greedy": [["fast", 4]], "warm": [["fast", 3, "trimmed"]]}']
    policies = ["--policies", '{"greedy": {"temperature": 0.0}, "warm": {"temperature": 0.8}}']
    way = ["--drafting", '{"trimmed": {"vocabulary": 50}}']
    drafters = ["--drafters", adaptive(study / "heads", **lowest(study))]
    out = study / "acceptance.csv"
    dispatch_stage("acceptance", *common, *drafters, *points, *policies, *way, "--out", out)
    rows = list(csv.DictReader(out.open()))
    assert {row["policy"] for row in rows} == {"greedy", "warm"}
    assert {row["identical"] for row in rows if row["policy"] == "greedy"} == {"1"}
    assert sum(int(row["drafted"]) for row in rows) > 0


def test_generate_takes_the_folder_and_an_accuracy_level(study, capsys):
    words = ["generate", "--target", study / "target", "--prompt", "How are you?", "--max-new-tokens", 12]
    answers = []
    for more, told in (
        ([], "[target alone"),
        (
            ["--checkpoint", study / "heads", "--accuracy-level", 0.5, "--rule", "empirical"],
            "[exits heads at 0.5, gamma 4]",
        ),
    ):
        capsys.readouterr()
        assert main([*map(str, [*words, "--dtype", "float32", *more])]) == 0
        said = capsys.readouterr().out
        assert told in said
        assert ("drafted tokens left at the first sure head: " in said) == bool(more)
        answers.append(said.splitlines()[0])
    assert len(set(answers)) == 1
    wrong = [*words, "--checkpoint", study / "heads", "--accuracy-level", 0.42]
    assert main([*map(str, wrong)]) == 2
    assert "accuracy_level: 0.42 was not calibrated; there are 0.50, 0.55, 0.60" in capsys.readouterr().err
    assert main([*map(str, [*words, "--accuracy-level", 0.5])]) == 2
    assert "--accuracy-level, --rule, --risk: are for heads" in capsys.readouterr().err


def generating(study, *more, asked=("--prompt", "How are you?")):
    words = ["generate", "--target", study / "target", *asked, "--max-new-tokens", 12, "--dtype", "float32"]
    return [*map(str, [*words, *more])]


LEVEL = ("--accuracy-level", 0.5, "--rule", "empirical")
MODES = {
    "full": ((), "[target alone, no drafter]"),
    "fixed_exit": (("--head", 2), "[layer 2 translator, nothing verified]"),
    "early_exit": (("--head", 2), "[layer 2 translator, gamma 4]"),
    "adaptive_early_exit": (LEVEL, "[exits heads at 0.5, gamma 4]"),
    "lossy_adaptive": (LEVEL, "[exits at 0.5 (not promised), nothing verified]"),
    "dynamic": ((), "[dynamic heads, gamma 4]"),
}


def test_every_mode_decodes_and_what_is_verified_says_what_the_target_says(study, capsys):
    answers = {}
    for mode, (more, told) in MODES.items():
        drafter = () if mode == "full" else ("--checkpoint", study / "heads")
        capsys.readouterr()
        assert main(generating(study, "--mode", mode, *drafter, *more)) == 0
        said = capsys.readouterr().out
        assert told in said, mode
        unverified = mode in ("fixed_exit", "lossy_adaptive")
        assert (" are not the target's best token, perplexity under it " in said) == unverified
        answers[mode] = said.partition("\n[")[0]
    assert len({answers[mode] for mode in MODES if mode not in ("fixed_exit", "lossy_adaptive")}) == 1


def test_all_modes_stand_in_one_table(study, capsys):
    words = ["--checkpoint", study / "heads", "--data", study / "data", "--mode", "comprehensive", *LEVEL]
    assert main(generating(study, *words, asked=("--num-samples", 2))) == 0
    table = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in table.splitlines() if line.startswith("│")]
    found = {(row[0], row[1]): row for row in rows}
    assert {mode for mode, _ in found} == set(MODES)
    assert {setting for mode, setting in found if mode == "fixed_exit"} == {"layer 0", "layer 2"}
    for (mode, _), row in found.items():
        if mode not in ("fixed_exit", "lossy_adaptive"):
            assert row[7:9] == ["2/2", "0.0%"], mode
    full, fixed = found["full", ""], found["fixed_exit", "layer 2"]
    assert (full[3], full[4], full[6]) == ("1.00", "1.00", "3.0")
    assert (fixed[4], fixed[5], fixed[6]) == ("0.00", "–", "2.0")
    assert float(fixed[9]) > float(full[9])  # the target finds its own answers likelier

    assert main(generating(study, *words, "--max-new-tokens", 4, asked=("--num-samples", 8))) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "│ fixed_exit" in line]
    assert all(re.search(r"│ \d+\.\d% \[\d+\.\d, \d+\.\d\] +│", line) for line in lines)  # its disagreement
    assert len(lines) == 2

    refused = ["--checkpoint", study / "heads", "--data", study / "data", "--mode", "comprehensive"]
    assert main(generating(study, *refused, "--accuracy-level", 0.95, asked=("--number", 0))) == 0
    said = capsys.readouterr().out
    assert "left out: adaptive_early_exit.accuracy_level: no head reaches 0.95" in said
    assert "left out: lossy_adaptive.accuracy_level: 0.95 is not reached without verification (" in said


def test_decoding_without_verification_is_a_row_a_head_and_a_level_with_intervals(study, tmp_path):
    folder = tmp_path / "heads"
    shutil.copytree(study / "heads", folder)
    found = calibration(study)
    levels = found["joint"]["entropy"]["learn_then_test"]
    levels["0.50"] |= {"threshold": 100.0, "observed_risk": 0.25}  # all leave at the first head
    for level in ("0.90", "0.95"):
        levels[level] = {"threshold": None, "risk": 0.9, "conversations_needed": None}
    (folder / "calibration.json").write_text(json.dumps(found))
    words = ["--target", study / "target", "--data", study / "data", "--drafter", folder, "--dtype", "float32"]
    words += ["--settings", '{"prompts": 8, "max_new_tokens": 5}', "--statistics", '{"resamples": 99}']
    dispatch_stage("unverified", *words, "--out", tmp_path / "unverified.csv")
    rows = list(csv.DictReader((tmp_path / "unverified.csv").open()))
    assert [(row["mode"], row["layer"]) for row in rows[:3]] == [("full", ""), ("fixed_exit", "0"), ("fixed_exit", "2")]
    full, shallow, deep = rows[:3]
    by_level = {row["accuracy_level"]: row for row in rows[3:]}
    assert list(by_level) == list(map(level_text, LEVELS))
    assert (full["speedup"], full["disagreement"], full["target_calls_per_token"]) == ("1", "0", "1")
    assert (shallow["mean_layer"], shallow["target_calls_per_token"], shallow["prompts"]) == ("0", "0", "8")
    lossy = by_level["0.50"]
    assert (lossy["promised_risk"], lossy["observed_risk"], lossy["threshold"]) == ("0.5", "0.25", "100")
    same = ("disagreement", "perplexity", "mean_layer", "tokens")
    assert [lossy[name] for name in same] == [shallow[name] for name in same]
    assert 0 < float(shallow["disagreement_low"]) <= float(shallow["disagreement"])
    assert float(deep["speedup_low"]) <= float(deep["speedup_high"])
    assert (by_level["0.95"]["speedup"], by_level["0.95"]["interval_note"][:11]) == ("", "not reached")
    drawn = tmp_path / "figures"
    dispatch_stage("figure", "unverified", "--table", tmp_path / "unverified.csv", "--out-dir", drawn)
    assert (drawn / "unverified.pdf").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mode", "fast"], "--mode: 'fast' is unknown; there are full, fixed_exit, early_exit, adaptive_early_exit,"),
        (["--mode", "dynamic"], "--mode dynamic: --checkpoint is missing; a folder of heads (kind exits) is needed"),
        (
            ["--mode", "fixed_exit"],
            "--mode fixed_exit: --checkpoint is missing; an exit or a folder of heads is needed",
        ),
        (["--mode", "full", "--checkpoint", "heads"], "--mode full: the target decodes alone; leave out --checkpoint"),
        (
            ["--mode", "dynamic", "--lookup", 2],
            "--mode dynamic: is of exits of the target; leave out --draft-model and",
        ),
        (
            ["--mode", "fixed_exit", "--checkpoint", "heads"],
            "--mode fixed_exit: heads has heads after layers 0, 2; choose",
        ),
        (
            ["--mode", "early_exit", "--checkpoint", "heads", "--head", 1],
            "--head: 1 is no head of heads; there are 0, 2",
        ),
        (
            ["--mode", "dynamic", "--checkpoint", "heads", "--head", 2],
            "--head: is for --mode fixed_exit and early_exit",
        ),
        (
            ["--mode", "dynamic", "--checkpoint", "heads", *LEVEL],
            "--accuracy-level, --rule: are for --mode adaptive_ea",
        ),
        (
            ["--mode", "lossy_adaptive", "--checkpoint", "heads", "--risk", "no_harm"],
            "--risk: is for --mode adaptive_early_exit, whose drafts are verified",
        ),
        (
            ["--mode", "adaptive_early_exit", "--checkpoint", "heads", "--risk", "no_harm"],
            "drafters.adaptive_early_exit.risk: not calibrated for no_harm; run",
        ),
        (["--mode", "lossy_adaptive", "--checkpoint", "heads", "--adapt"], "--adapt: is for verified drafts, not for"),
        (
            ["--mode", "lossy_adaptive", "--checkpoint", "heads", "--accuracy-level", 0.95],
            "lossy_adaptive.accuracy_leve",
        ),
        (["--mode", "dynamic", "--checkpoint", "nowhere"], "--checkpoint: nowhere: no such folder"),
        (["--mode", "dynamic", "--checkpoint", "alone"], "--mode dynamic: alone is a single exit; heads of kind exits"),
    ],
)
def test_a_mode_that_lacks_what_it_needs_says_so_in_one_line(study, capsys, monkeypatch, words, message):
    monkeypatch.chdir(study)
    assert main(generating(study, *words)) == 2
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith(f"selfdraft generate: error: {message}")


def test_more_prompts_than_there_are_cannot_be_asked(study, capsys):
    assert main(generating(study, "--data", study / "data", asked=("--num-samples", 999))) == 2
    assert "--num-samples: 999 asked, " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": [1, 9]}, "drafters.many.heads: layer 9 is not a layer of the target (0…3)"),
        ({"heads": [1, 2, 1]}, "drafters.many.heads: layer 1 stands there 2 times; once is right"),
        ({"heads": "all"}, 'drafters.many.heads: "all" is not a list'),
        ({"num_heads": 3}, "drafters.many.heads: a list of layers, or num_heads in its place; one of the two is right"),
        ({"capacity": "heads"}, 'drafters.many.capacity: "heads" is not known; did you mean "head"?'),
        ({"features": [1]}, "drafters.many.features: unknown key; known are kind, heads"),
        ({"training": {"epoch": 2}}, 'drafters.many.training.epoch: unknown key; did you mean "epochs"?'),
        ({"training": {}}, "--capture: missing; mode offline trains on captured states"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(study, capsys, changes, message):
    settings = SETTINGS | {"training": {"mode": "online"}} | changes
    assert main([*map(str, training(study, "wrong", settings=settings))]) == 2
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith(f"selfdraft train-drafter: error: {message}")
    assert not (study / "wrong").exists()


def drafting(study, folder, capsys, **settings):
    """What acceptance says of a drafter that it refuses."""
    common = ["--target", study / "target", "--data", study / "data", "--points", '{"greedy": [["fast", 2]]}']
    words = [*common, "--drafters", adaptive(folder, **settings), "--policies", '{"greedy": {}}', "--out", study / "no"]
    assert main([*map(str, ["acceptance", *words])]) == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_a_calibration_of_other_heads_or_another_target_is_refused(study, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(study / "heads", other)
    tensors = load_file(other / "aux_heads.safetensors")
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, other / "aux_heads.safetensors")
    assert "calibration.json: calibration of other heads than those beside it" in drafting(study, other, capsys)
    shutil.copytree(study / "heads", tmp_path / "moved")
    record = calibration(study) | {"target": "another"}
    (tmp_path / "moved/calibration.json").write_text(json.dumps(record))
    assert "calibration.json: calibrated on another target" in drafting(study, tmp_path / "moved", capsys)
    (tmp_path / "moved/calibration.json").unlink()
    assert "calibration.json: file not found" in drafting(study, tmp_path / "moved", capsys)
    tiny_target(tmp_path / "target", seed=9)
    words = calibrating(study, "--out", tmp_path / "no.json")
    words[words.index("--target") + 1] = tmp_path / "target"
    assert main([*map(str, words)]) == 2
    assert "trained on another target: its fingerprint is" in capsys.readouterr().err


def test_levels_measures_and_ways_that_there_are_not_are_one_clear_line(study, capsys):
    heads = study / "heads"
    assert "drafters.fast.accuracy_level: 0.42 was not calibrated; there are 0.50," in drafting(
        study, heads, capsys, accuracy_level=0.42
    )
    assert "drafters.fast.measure: 'doubt' is unknown; one of entropy" in drafting(
        study, heads, capsys, measure="doubt"
    )
    assert "drafters.fast.rule: 'luck' is unknown; one of empirical" in drafting(study, heads, capsys, rule="luck")
    refused = drafting(study, heads, capsys, accuracy_level=0.95)
    assert "drafters.fast.accuracy_level: no head reaches 0.95 (" in refused
    assert "choose a lower one" in refused


def test_too_few_conversations_are_told_how_many_are_needed(study, capsys):
    assert main([*map(str, calibrating(study, "--num-samples", 6))]) == 2
    told = "3 conversations are too few to promise anything; level 0.50 needs 5 at epsilon 0.05, level 0.95 needs 59"
    assert told in capsys.readouterr().err
    assert main([*map(str, calibrating(study, "--num-samples", 10_000))]) == 2
    assert "--num-samples: 10000 conversations asked, the held-out text has" in capsys.readouterr().err


def test_heads_draft_no_trees_and_drawn_answers_are_not_called_identical(study, capsys):
    assert main(generating(study, "--checkpoint", study / "heads", *LEVEL, "--tree", 4, 2)) == 2
    assert "adaptive_early_exit drafts no trees" in capsys.readouterr().err
    words = ["--checkpoint", study / "heads", "--mode", "comprehensive", "--temperature", 0.8, *LEVEL]
    assert main(generating(study, *words)) == 0
    rows = [line.split("│") for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert {row[8].strip() for row in rows} == {"–"}
