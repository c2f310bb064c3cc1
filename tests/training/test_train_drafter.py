"""`selfdraft train-drafter` on a tiny study: its folder, drafting with it, an interruption, and what is refused."""

import csv
import json
import signal

import pytest
import torch
from safetensors.torch import load_file
from tiny_llama import moved_eagle3, tiny_llama
from training.runs import dispatch_stage, kill, prepare, result, stage, start, wait_for

from selfdraft.cli import main
from selfdraft.files import sha256_of
from selfdraft.models.eagle3 import untrained_eagle3
from selfdraft.training.drafter_initial import take

SETTINGS = {
    "kind": "eagle3",
    "features": [0, 1, 2],
    "vocabulary": 100,
    "training": {"ttt_length": 3, "tokens_per_step": 60, "epochs": 2, "evaluations": 2, "dtype": "float32"},
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder with target, data, states, and a drafter that was trained without interruption."""
    folder = tmp_path_factory.mktemp("drafter")
    prepare(folder)
    stage(*words(folder, "whole"))
    return folder


def words(folder, out, *more, **changes):
    stated = ["--target", folder / "target", "--data", folder / "data", "--capture", folder / "capture"]
    settings = ["--name", "eagle", "--settings", json.dumps(SETTINGS | changes), "--dataset", "tiny"]
    return ["train-drafter", *stated, *settings, "--out-dir", folder / out, *more]


def test_the_folder_says_all_that_is_needed_to_draft_and_to_compare(study):
    config = json.loads((study / "whole/config.json").read_text())
    assert {
        key: config[key] for key in ("kind", "drafter", "features", "fc_norm", "norm_output", "draft_vocab_size")
    } == {
        "kind": "eagle3",
        "drafter": "eagle",
        "features": [0, 1, 2],
        "fc_norm": True,
        "norm_output": False,
        "draft_vocab_size": 100,
    }
    tensors = load_file(study / "whole/draft.safetensors")
    trained = sum(tensor.numel() for name, tensor in tensors.items() if name not in ("d2t", "t2d"))
    assert config["trained_parameters"] == trained
    read = {name for name in tensors if name.startswith(("midlayer.self_attn", "midlayer.mlp", "lm_head"))}
    assert config["draft_step_bytes"] == 2 * sum(tensors[name].numel() for name in read)
    log = [json.loads(line) for line in (study / "whole/train_log.jsonl").read_text().splitlines()]
    assert log[-1]["tokens"] == config["training_tokens"] > 0
    assert log[-1]["validation_accepted"] > log[0]["validation_accepted"]


def test_acceptance_and_results_measure_it(study):
    drafters = json.dumps({"eagle": {"kind": "eagle3", "folder": str(study / "whole")}})
    common = ["--target", study / "target", "--data", study / "data", "--drafters", drafters]
    points = [
        "--points",
        json.dumps({"greedy": [["eagle", 3], ["eagle", 3, "tree"]], "warm": [["eagle", 2, "trimmed"]]}),
    ]
    policies = ["--policies", json.dumps({"greedy": {"temperature": 0.0}, "warm": {"temperature": 0.8}})]
    way = ["--drafting", json.dumps({"trimmed": {"vocabulary": 50}, "tree": {"tree": {"nodes": 10, "children": 3}}})]
    out = study / "acceptance.csv"
    dispatch_stage("acceptance", *common, *points, *policies, *way, "--out", out)
    rows = list(csv.DictReader(out.open()))
    assert {(row["drafter"], row["gamma"], row["drafting"]) for row in rows} == {
        ("eagle", "3", "fixed"),
        ("eagle", "3", "tree"),
        ("eagle", "2", "trimmed"),
    }
    assert {row["identical"] for row in rows if row["policy"] == "greedy"} == {"1"}
    trees = [row for row in rows if row["drafting"] == "tree" and row["cut"] == "0"]
    assert {(row["drafted"], row["overlap_sum"]) for row in trees} == {("10", "")}
    tables, greedy = (
        {},
        ["--policy", "greedy", "--policy-settings", "{}", "--points", json.dumps([["eagle", 3], ["eagle", 3, "tree"]])],
    )
    for name, settings in (
        ("steps", {"contexts": [16], "rounds": 1}),
        ("speed", {"prompts": 2, "max_new_tokens": 4, "repeats": 1}),
    ):
        tables[name] = study / f"{name}.csv"
        more = ["--no-transformers"] if name == "speed" else []
        stated = [*common, *way, *greedy, *more, "--settings", json.dumps(settings), "--dtype", "float32"]
        dispatch_stage(name, *stated, "--out", tables[name])
    table = study / "results.csv"
    told = [word for name, path in tables.items() for word in (f"--{name}", path)]
    dispatch_stage("results", "--acceptance", out, *told, "--drafters", study / "whole", "--out", table)
    by_way = {(row["policy"], row["drafting"]): row for row in csv.DictReader(table.open())}
    tree, chain = by_way["greedy", "tree"], by_way["greedy", "fixed"]
    assert (tree["overlap"], tree["tv"]) == ("", "")
    for row in (tree, chain):
        assert float(row["predicted_speedup"]) > 0
        assert float(row["speedup"]) > 0
        assert row["identical"] == "1"
    config = json.loads((study / "whole/config.json").read_text())
    for row in csv.DictReader(table.open()):
        for column in (
            "trained_parameters",
            "trained_bytes",
            "training_tokens",
            "training_seconds",
            "draft_step_bytes",
        ):
            assert float(row[column]) == config[column]


def test_a_bias_and_a_confidence_head_are_trained_saved_and_drafted_with(study):
    stage(*words(study, "parts", bias_rank=3, confidence=True))
    config = json.loads((study / "parts/config.json").read_text())
    assert (config["bias_rank"], config["confidence"]) == (3, True)
    tensors = load_file(study / "parts/draft.safetensors")
    assert all(tensors[name].any() for name in ("bias.head.weight", "confidence.weight", "confidence.bias"))
    trained = sum(tensor.numel() for name, tensor in tensors.items() if name not in ("d2t", "t2d"))
    assert config["trained_parameters"] == trained
    plain = json.loads((study / "whole/config.json").read_text())
    more = tensors["bias.head.weight"].numel() + 3 + tensors["confidence.weight"].numel()
    assert config["draft_step_bytes"] - plain["draft_step_bytes"] == 2 * more
    drafters = json.dumps({"eagle": {"kind": "eagle3", "folder": str(study / "parts")}})
    common = ["acceptance", "--target", study / "target", "--data", study / "data", "--drafters", drafters]
    points = ["--points", '{"greedy": [["eagle", 3, "adaptive"]]}', "--drafting", '{"adaptive": {"adapt": true}}']
    dispatch_stage(*common, *points, "--policies", '{"greedy": {}}', "--out", study / "parts.csv")
    rows = list(csv.DictReader((study / "parts.csv").open()))
    assert {row["identical"] for row in rows} == {"1"}
    assert sum(int(row["drafted"]) for row in rows) > 0


def test_a_drafter_goes_on_from_another_one_and_may_get_a_part_and_other_words(study):
    """Its first look at the validation text is the other one's last; tokens and seconds add up."""
    held = dict.fromkeys(("norm", "fc", "layer", "head"), 0.0)
    asked = SETTINGS["training"] | {"epochs": 1, "learning_rate": held}
    more = ("--initial", study / "whole")
    stage(*words(study, "after", *more, initial="first", confidence=True, training=asked))
    first, after = (json.loads((study / name / "config.json").read_text()) for name in ("whole", "after"))
    log = {
        name: [json.loads(line) for line in (study / name / "train_log.jsonl").read_text().splitlines()]
        for name in ("whole", "after")
    }
    best = max(row.get("validation_accepted", -1) for row in log["whole"])
    assert log["after"][0]["validation_accepted"] == pytest.approx(best, abs=0.1)  # it was stored rounded
    assert log["after"][0]["validation_accepted"] > log["whole"][0]["validation_accepted"]
    assert after["summary"]["tokens"] == log["after"][-1]["tokens"]
    for key in ("training_tokens", "training_seconds"):
        assert after[key] == pytest.approx(first[key] + after["summary"][key.removeprefix("training_")], abs=2e-3)
        assert after["initial"][key] == first[key]
    assert after["initial"]["weights"] == sha256_of(study / "whole/draft.safetensors")
    before, now = (load_file(study / name / "draft.safetensors") for name in ("whole", "after"))
    assert set(now) - set(before) == {"confidence.weight", "confidence.bias"}
    assert now["confidence.weight"].any()  # kept although nothing more is accepted by it
    assert all(before[name].equal(now[name]) for name in before)
    stage(*words(study, "fewer", *more, initial="first", vocabulary=60, training=asked))
    fewer = load_file(study / "fewer/draft.safetensors")
    kept = [tensors["t2d"].nonzero().flatten().tolist() for tensors in (before, fewer)]
    assert len(kept[1]) == 60
    for place, token in enumerate(kept[1]):
        assert fewer["lm_head.weight"][place].equal(before["lm_head.weight"][kept[0].index(token)])


def test_a_word_that_the_other_drafter_does_not_know_has_the_targets_row():
    target = tiny_llama()
    draft = untrained_eagle3(target, (1, 2, 3), torch.arange(0, 61, 2), torch.float32)
    other = moved_eagle3(target, (1, 2, 3), torch.arange(0, 61, 3))
    take(draft, other)
    for place, token in enumerate(range(0, 61, 2)):
        known = token % 3 == 0
        expected = other.head.weight[token // 3] if known else target.head.weight[token]
        assert torch.equal(draft.head.weight[place], expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "--initial: the folder of what drafters.eagle.initial names; one goes with the other"),
        ({"initial": "a", "features": [0, 1]}, "drafters.eagle.initial: {} has features [0, 1, 2], here it is [0, 1]"),
        ({"initial": "a", "norm_output": True}, "drafters.eagle.initial: {} has norm_output False, here it is True"),
        (
            {"initial": "a", "training": {"start": "regression"}},
            "training.start: does not go with initial, which says where training starts",
        ),
    ],
)
def test_a_drafter_of_another_layout_is_nothing_to_go_on_from(study, capsys, changes, message):
    assert main([*map(str, words(study, "wrong", "--initial", study / "whole", **changes))]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f"selfdraft train-drafter: error: {message.format(study / 'whole')}")


def test_generate_drafts_trees_with_it_and_says_what_vanilla_says(study, capsys):
    asked = ["generate", "--target", study / "target", "--prompt", "How are you?", "--max-new-tokens", 12]
    drafted = [*asked, "--dtype", "float32", "--checkpoint", study / "whole", "--gamma", 3]
    said = []
    for words in ([*asked, "--dtype", "float32"], [*drafted, "--tree", 10, 3], [*drafted, "--tree", 3000, 3]):
        status = main([*map(str, words)])
        told = capsys.readouterr()
        said.append((status, told.out.splitlines()[:1], told.err.strip().splitlines()[-1:]))
    assert said[0][:2] == said[1][:2]
    assert said[2][0] == 2
    assert "tree.nodes: 3000 and the token that they follow do not fit into the target's context of" in said[2][2][0]


def test_stopped_by_ctrl_c_and_started_again_it_ends_the_same(study):
    state = study / "state.safetensors"
    more = ("--state", state, "--save-steps", 1)
    process = start(words(study, "stopped", *more))
    assert wait_for(state.exists, process)
    _, errors = kill(process, signal.SIGINT)
    assert process.returncode == 128 + signal.SIGINT, errors
    assert f"state saved in {state}; start again to go on" in errors
    assert not (study / "stopped").exists()
    stage(*words(study, "stopped", *more))
    assert result(study / "stopped") == result(study / "whole")
    assert not state.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "lookup"}, "drafters.eagle.kind: found 'lookup', eagle3 or exits is what is trained here"),
        ({"features": [1, 5]}, "drafters.eagle.features: 5 is not a depth of the target (0…4)"),
        ({"features": "all"}, 'drafters.eagle.features: "all" is not a list'),
        ({"vocabulary": 5000}, "drafters.eagle.vocabulary: 5000 tokens asked, the target has"),
        ({"heads": 3}, "drafters.eagle.heads: unknown key; "),
        ({"bias_rank": -1}, "drafters.eagle.bias_rank: -1 is not ≥ 0"),
        ({"confidence": 1}, "drafters.eagle.confidence: 1 is not true or false"),
        ({"training": {"ttt_length": 500}}, "training.ttt_length: 500 is too long for these data"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(study, capsys, changes, message):
    assert main([*map(str, words(study, "wrong", **changes))]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f"selfdraft train-drafter: error: {message}")
    assert not (study / "wrong").exists()


def test_a_trained_drafter_is_named_by_its_folder(study, capsys):
    drafters = {"eagle": {"kind": "eagle3", "features": [1]}}
    common = ["acceptance", "--target", study / "target", "--data", study / "data", "--drafters", json.dumps(drafters)]
    points = ["--points", '{"greedy": [["eagle", 2]]}', "--policies", '{"greedy": {}}', "--out", study / "no.csv"]
    assert main([*map(str, [*common, *points])]) == 2
    assert "drafters.eagle.features: unknown key; known are kind, folder" in capsys.readouterr().err


def test_it_goes_out_to_another_program_and_comes_back_the_same(study, capsys):
    made = ["--target", study / "target", "--drafter", study / "whole", "--out-dir", study / "out"]
    assert main([*map(str, ["export-drafter", *made, "--form", "raw"])]) == 2
    assert "features: depth 0, the embedding, has no layer id in the form raw" in capsys.readouterr().err
    stage("export-drafter", *made, "--form", "speculators", "--name", "org/tiny")
    stage("import-drafter", study / "out", "--target", study / "target", "--name", "back", "--out-dir", study / "back")
    before, after = (load_file(study / name / "draft.safetensors") for name in ("whole", "back"))
    assert before.keys() == after.keys()
    assert all(before[name].equal(after[name]) for name in before)
    told = [json.loads((study / name / "config.json").read_text()) for name in ("whole", "back")]
    for key in ("features", "fc_norm", "norm_output", "target", "trained_parameters", "draft_step_bytes"):
        assert told[0][key] == told[1][key]
    assert told[1]["drafter"] == "back"


def test_another_study_measures_it_as_trained_elsewhere(study, capsys):
    kinds = {"eagle": {"kind": "eagle3"}, "given": {"kind": "trained_elsewhere"}}
    drafters = json.dumps({name: kind | {"folder": str(study / "whole")} for name, kind in kinds.items()})
    common = ["acceptance", "--target", study / "target", "--data", study / "data", "--drafters", drafters]
    points = json.dumps({"greedy": [["eagle", 3], ["given", 3]]})
    out, table = study / "given.csv", study / "given_results.csv"
    dispatch_stage(*common, "--points", points, "--policies", '{"greedy": {}}', "--out", out)
    dispatch_stage("results", "--acceptance", out, "--drafters", f"given={study / 'whole'}", "--out", table)
    ours, theirs = sorted(csv.DictReader(table.open()), key=lambda row: row["drafter"])
    assert ours["accepted_mean"] == theirs["accepted_mean"]
    assert (ours["trained_parameters"], theirs["trained_parameters"] != "") == ("", True)
    drafters = json.dumps({"given": {"kind": "trained_elsewhere", "folder": str(study / "nowhere")}})
    common[6] = drafters
    assert (
        main(
            [
                *map(str, common),
                "--points",
                '{"greedy": [["given", 3]]}',
                *("--policies", '{"greedy": {}}', "--out", str(out)),
            ]
        )
        == 2
    )
    assert "nowhere/config.json: file not found" in capsys.readouterr().err


def test_generate_drafts_with_its_folder_alone_and_behind_lookup(study, capsys):
    words = ["generate", "--target", study / "target", "--prompt", "How are you?", "--max-new-tokens", 12]
    answers = []
    for more, told in (
        ([], "[target alone"),
        (["--checkpoint", study / "whole"], "[eagle3 whole, gamma 4]"),
        (["--checkpoint", study / "whole", "--lookup", 3], "[lookup of up to 3 tokens, else eagle3 whole, gamma 4]"),
    ):
        capsys.readouterr()
        assert main([*map(str, [*words, "--dtype", "float32", *more])]) == 0
        said = capsys.readouterr().out
        assert told in said
        answers.append(said.splitlines()[0])
    assert len(set(answers)) == 1
