"""Every stage from the command line, without Snakemake, on a tiny target; and what it says to bad input."""

import csv
import io
import json
import re
import subprocess
import sys
from importlib.metadata import version

import pytest
import torch
from rich.console import Console
from tiny import tiny_conversations, tiny_target

from selfdraft.cli import GROUPS, STAGES, main
from selfdraft.commands import length_sweep
from selfdraft.evaluation import acceptance, disturbance

HEAVY = ("transformers", "datasets", "pandas", "matplotlib", "scipy", "snakemake")
DATA_SETTINGS = {
    "english_only": False,
    "held_out_fraction": 0.5,
    "sequence_length": 128,
    "train_tokens": 600,
    "validation_tokens": 200,
    "held_out_tokens": 600,
    "prompts": 4,
    "prompt_length": [4, 100],
    "seed": 0,
}
TRAINING = {"tokens_per_step": 100, "epochs": 1}
GREEDY = '{"temperature": 0}'
POLICIES = f'{{"greedy": {GREEDY}, "t": {{"temperature": 0.8, "top_p": 0.9}}}}'


def selfdraft(*words):
    """Run a stage in its own process; returns it, and which heavy modules it imported."""
    code = (
        "import sys; from selfdraft.cli import main; status = main(sys.argv[1:]);"
        f"print('HEAVY', *[m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True)
    heavy = next((line for line in done.stderr.splitlines() if line.startswith("HEAVY")), "HEAVY").split()[1:]
    return done, heavy


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A target, data, captured states and one checkpoint, each made by its stage."""
    folder = tmp_path_factory.mktemp("study")
    tiny_target(folder / "hub")
    tiny_conversations(folder / "conversations.json", 120)
    target, data = folder / "target", folder / "data"
    text = json.dumps({"kind": "path", "path": str(folder / "conversations.json")})
    stages = [
        ["target", "--name", "tiny", "--source", json.dumps({"kind": "path", "path": str(folder / "hub")})],
        ["data", "--name", "talk", "--source", text, "--target", target, "--settings", json.dumps(DATA_SETTINGS)],
        ["capture", "--target", target, "--data", data, "--depths", "1", "2"],
    ]
    train = ["train", "--target", target, "--data", data, "--capture", folder / "capture", "--layer", "1"]
    stages += [
        [*train, "--T", "1", "--capacity", "head_block", "--settings", json.dumps(TRAINING), "--dataset", "talk"]
    ]
    places = {"target": target, "data": data, "capture": folder / "capture", "train": folder / "draft"}
    heavy_of = {}
    for words in stages:
        done, heavy_of[words[0]] = selfdraft(*words, "--out-dir", places[words[0]])
        assert done.returncode == 0, done.stderr
    return folder, heavy_of


def said_by(capsys, *words):
    """What a stage prints, run in this process."""
    capsys.readouterr()
    status = main([*map(str, words)])
    output = capsys.readouterr()
    assert status == 0, output.err
    return output.out


def common(folder):
    return ["--target", folder / "target", "--data", folder / "data"]


def asked(points, policies=None):
    """The options of the acceptance stage that say what is measured."""
    return ["--points", json.dumps(points), "--policies", policies or f'{{"greedy": {GREEDY}}}']


def test_stages_import_nothing_heavy_that_they_do_not_need(study):
    folder, heavy_of = study
    assert heavy_of["capture"] == heavy_of["train"] == heavy_of["data"] == []
    point = [*common(folder), "--checkpoints", folder / "draft"]
    done, heavy = selfdraft("quality", *point, "--capture", folder / "capture", "--out", folder / "quality.csv")
    assert (done.returncode, heavy) == (0, []), done.stderr
    done, heavy = selfdraft("acceptance", *point, *asked({"greedy": [["draft", 3]]}), "--out", folder / "a.csv")
    assert (done.returncode, heavy) == (0, []), done.stderr
    with open(folder / "a.csv", newline="") as file:
        assert {row["identical"] for row in csv.DictReader(file)} == {"1"}


def test_evaluate_measures_checkpoints_into_one_table(study, capsys):
    folder, _ = study
    options = ["--model", folder / "target", "--data", folder / "data", "--checkpoints", f"{folder}/dra*"]
    options += ["--speed", '{"prompts": 2, "max_new_tokens": 6}', "--acceptance", '{"max_new_tokens": 8}']
    options += ["--statistics", '{"resamples": 50}', "--out-dir", folder / "evaluation", "--gammas", "2", "3"]
    said_by(capsys, "evaluate", *options)
    with open(folder / "evaluation" / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["gamma"], row["policy"]) for row in rows} == {(g, p) for g in "23" for p in ("greedy", "t0.7")}
    assert all(float(row[name]) > 0 for row in rows for name in ("kl", "speedup", "speedup_vs_transformers", "mbu"))
    made = json.loads((folder / "evaluation" / "provenance.json").read_text())
    assert {(row["commit"].removesuffix("-dirty"), row["config_hash"]) for row in rows} == {
        (made["commit"], made["config_hash"])
    }
    assert made["config"]["speed"]["prompts"] == 2
    assert made["seeds"] == {"acceptance.seed": 0, "speed.seed": 0, "statistics.seed": 0}
    assert list(made["checkpoints"]) == ["draft"]
    assert made["machine"]["read_bandwidth_gb_s"] > 0


def test_a_checkpoint_names_the_machine_and_the_packages_it_was_trained_with(study):
    folder, _ = study
    made = json.loads((folder / "draft" / "config.json").read_text())["provenance"]
    assert made["packages"]["torch"] == version("torch")
    assert (made["gpu"] is None, made["driver"] is None, made["dirty"]) == (not torch.cuda.is_available(),) * 2 + (
        None,
    )
    assert made["cpu"]
    done, heavy = selfdraft("provenance", folder / "draft", folder / "target", folder / "data")
    assert (done.returncode, heavy) == (0, []), done.stderr
    assert f"torch {version('torch')}" in done.stdout


TIMES = {"prefill_s", "decode_s", "draft_s", "verify_s", "accept_s", "peak_memory_mb", *disturbance.COLUMNS}


@pytest.mark.parametrize("policy", ['{"temperature": 0}', '{"temperature": 0.9}'], ids=["greedy", "sampled"])
def test_parts_of_the_prompts_join_to_the_table_of_all(study, tmp_path, policy):
    folder, _ = study
    point = ["acceptance", *common(folder), "--checkpoints", folder / "draft"]
    point += [*asked({"p": [["draft", 3]]}, f'{{"p": {policy}}}'), "--settings", '{"max_new_tokens": 9, "batch": 1}']
    # four prompts in three parts, and in more parts than there are prompts
    for parts in (1, 3, 5):
        tables = [tmp_path / f"{number}of{parts}.csv" for number in range(1, parts + 1)]
        for number, table in enumerate(tables, start=1):
            assert main([*map(str, point), "--shard", f"{number}/{parts}", "--out", str(table)]) == 0
        assert main(["gather", "--tables", *map(str, tables), "--out", str(tmp_path / f"{parts}.csv")]) == 0
    whole = (tmp_path / "1.csv").read_bytes()
    assert len({line.split(b",")[10] for line in whole.splitlines()[1:]}) == 4
    assert (tmp_path / "3.csv").read_bytes() == (tmp_path / "5.csv").read_bytes() == whole


def test_what_was_measured_before_is_not_measured_again_and_the_table_is_the_same(study, tmp_path, monkeypatch):
    folder, _ = study
    code, kept, measured = tmp_path / "code.txt", tmp_path / "kept", []
    code.write_text("one")

    def spied(*words, **options):
        measured.append(words[4])  # gamma
        return rows(*words, **options)

    rows = acceptance.acceptance_rows
    monkeypatch.setattr(acceptance, "acceptance_rows", spied)

    def table(points, *more, keep=True, settings=None):
        words = ["acceptance", *common(folder), "--checkpoints", folder / "draft", *asked(points, POLICIES), *more]
        words += ["--settings", json.dumps({"max_new_tokens": 9} | (settings or {})), "--out", tmp_path / "table.csv"]
        words += ["--kept-dir", kept, "--code", code] if keep else []
        measured.clear()
        assert main([*map(str, words)]) == 0
        return (tmp_path / "table.csv").read_bytes(), list(measured)

    few, more = (
        {"greedy": [["draft", 2]], "t": [["draft", 3]]},
        {"greedy": [["draft", 2], ["draft", 4]], "t": [["draft", 3]]},
    )
    assert table(few)[1] == [2, 3]
    assert table(few) == (table(few, keep=False)[0], [])
    assert table(more)[1] == [4]
    whole = table(more, keep=False)[0]
    assert table(more) == (whole, [])
    # a table of one point is the part of the table of all: nothing of a row depends on what else is measured
    assert table({"greedy": [["draft", 4]]}, keep=False)[0].splitlines()[1:] == [
        line for line in whole.splitlines() if b",greedy,4," in line
    ]
    assert table(more, settings={"seed": 1})[1] == [2, 4, 3]
    assert len(list(kept.iterdir())) == 3  # in place of the older ones
    code.write_text("two")
    assert table(more, settings={"seed": 1})[1] == [2, 4, 3]


def test_quality_that_was_measured_before_is_taken_from_there(study, tmp_path):
    folder, _ = study
    words = ["quality", *common(folder), "--capture", folder / "capture", "--checkpoints", folder / "draft"]
    words += ["--kept-dir", tmp_path / "kept", "--out", tmp_path / "table.csv"]
    assert main([*map(str, words)]) == 0
    measured = (tmp_path / "table.csv").read_bytes()
    (path,) = (tmp_path / "kept").glob("draft.*.csv")
    assert path.read_bytes() == measured
    path.write_bytes(measured.replace(b"early_exit", b"kept"))
    assert main([*map(str, words)]) == 0
    assert (tmp_path / "table.csv").read_bytes() == path.read_bytes() != measured


def test_parts_of_the_timed_prompts_join_to_the_rows_of_all(study, tmp_path):
    folder, _ = study
    words = ["speed", *common(folder), "--checkpoints", folder / "draft", "--points", '[["draft", 2, "fixed"]]']
    words += ["--policy", "p", "--policy-settings", '{"temperature": 0.9}', "--no-transformers", "--dtype", "float32"]
    words += ["--settings", '{"prompts": 4, "max_new_tokens": 6, "repeats": 2}']
    for parts in (1, 3, 5):
        tables = [tmp_path / f"{number}of{parts}.csv" for number in range(1, parts + 1)]
        for number, table in enumerate(tables, start=1):
            assert main([*map(str, words), "--shard", f"{number}/{parts}", "--out", str(table)]) == 0
        assert main(["gather", "--tables", *map(str, tables), "--out", str(tmp_path / f"{parts}.csv")]) == 0

    def untimed(parts):
        with open(tmp_path / f"{parts}.csv", newline="") as file:
            return [{key: value for key, value in row.items() if key not in TIMES} for row in csv.DictReader(file)]

    assert len(untimed(1)) == 4 * 2 * 2
    assert untimed(1) == untimed(3) == untimed(5)


def test_generate_streams_the_same_text_with_and_without_a_draft(study, capsys):
    folder, _ = study
    words = ["generate", "--prompt", "How are you?", "--target", folder / "target", "--max-new-tokens", "12"]
    words += ["--dtype", "float32"]
    alone = said_by(capsys, *words)
    for way in (["--checkpoint", folder / "draft", "--min-confidence", "0.3"], ["--lookup", "2"]):
        drafted = said_by(capsys, *words, *way, "--color", "always")
        plain = drafted.replace("\033[32m", "").replace("\033[0m", "")
        assert plain.splitlines()[0] == alone.splitlines()[0]
        assert "accepted_mean" in drafted.splitlines()[-1]
        assert "speedup" in drafted.splitlines()[-1]


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_explains_itself(stage, capsys):
    with pytest.raises(SystemExit) as stop:
        main([stage, "--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert "--" in said
    assert not re.search(r"\(default:\s+(None|False|\{\})?\)", said)


def test_the_help_lists_every_stage_in_its_group(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    for group, stages in GROUPS.items():
        block = said.split(f"\n{group}:\n")[1].split("\n\n")[0]
        assert [line.split()[0] for line in block.splitlines() if line[2] != " "] == list(stages)


def bad(folder, **changed):
    """A train command with some options changed."""
    options = {
        "target": folder / "target",
        "data": folder / "data",
        "capture": folder / "capture",
        "layer": 1,
        "T": 1.0,
        "capacity": "head",
        "settings": "{}",
        "out-dir": folder / "bad",
    } | changed
    return ["train", *[word for name, value in options.items() for word in (f"--{name}", str(value))]]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"layer": 9}, "--layer: layer 9 is not a layer of the target (0…3)"),
        ({"T": 0}, "T: 0.0 is not a finite number > 0"),
        ({"capacity": "medusa"}, "capacity: 'medusa' is unknown"),
        ({"settings": "{"}, "--settings: not valid JSON"),
        ({"settings": '{"epoch": 1}'}, "training.epoch: unknown key"),
        ({"target": "nowhere"}, "nowhere/config.json: file not found"),
        ({"data": "nowhere"}, "nowhere/train.safetensors: file not found"),
        ({"capture": "nowhere"}, "nowhere/capture.json: file not found"),
    ],
)
def test_bad_training_input_is_one_line_and_leaves_nothing(study, capsys, changed, message):
    folder, _ = study
    assert main(bad(folder, **changed)) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert len(said.splitlines()) == 1
    assert not (folder / "bad").exists()
    assert not list(folder.glob(".bad*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (asked({"greedy": [["draft", 0]]}), "--points: gamma: 0 is not ≥ 1"),
        (asked({"greedy": []}), "--points: no point to measure"),
        (asked({}), "--points: no point to measure"),
        (asked({"mine": [["draft", 2]]}), "--points: policy mine is not among --policies (greedy)"),
        (asked({"greedy": [["other", 2]]}), "--points: other is not among --checkpoints or --drafters"),
        (asked({"greedy": [["draft", 2, "trimmed"]]}), "--points: 'trimmed' is not among --drafting (fixed)"),
        (asked({"m": [["draft", 2]]}, '{"m": {"temperature": 1, "top_p": 0}}'), "policies.m.top_p: 0 is not in (0, 1]"),
        (asked({"m": [["draft", 2]]}, '{"m": {"temperature": -1}}'), "policies.m.temperature: -1"),
        ([*asked({"greedy": [["draft", 2]]}), "--settings", '{"batch_size": 1}'], "acceptance.batch_size"),
        (
            [*asked({"greedy": [["draft", 2]]}), "--settings", '{"max_new_tokens": 100000}'],
            "do not fit into the target's context",
        ),
    ],
)
def test_bad_acceptance_input_is_one_line_and_leaves_nothing(study, capsys, options, message):
    folder, _ = study
    words = ["acceptance", *common(folder), "--checkpoints", folder / "draft"]
    assert main([*map(str, words), *options, "--out", str(folder / "never.csv")]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert not (folder / "never.csv").exists()


def test_a_checkpoint_of_another_target_is_refused(study, tmp_path, capsys):
    folder, _ = study
    tiny_target(tmp_path / "other", seed=7)
    words = ["generate", "--prompt", "x", "--target", tmp_path / "other", "--checkpoint", folder / "draft"]
    assert main([*map(str, words)]) == 2
    assert "trained on another target: its fingerprint" in capsys.readouterr().err


def test_a_truncated_model_file_is_named(tmp_path, capsys):
    tiny_target(tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-50])
    assert main(["generate", "--prompt", "x", "--target", str(tmp_path / "cut")]) == 2
    assert "model.safetensors: not a complete safetensors file" in capsys.readouterr().err


def test_a_disk_that_is_full_is_one_line(study, capsys, monkeypatch):
    folder, _ = study

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("csv.DictWriter.writerows", full)
    words = ["quality", *common(folder), "--capture", folder / "capture", "--checkpoint", folder / "draft"]
    assert main([*map(str, words), "--out", str(folder / "full.csv")]) == 2
    assert f"{folder / 'full.csv'}: No space left on device" in capsys.readouterr().err
    assert not list(folder.glob("*full.csv*"))


def test_a_batch_of_prompts_is_answered_as_each_alone(study, capsys):
    folder, _ = study
    words = ["generate", "--target", folder / "target", "--max-new-tokens", "10", "--dtype", "float32"]
    drafts = ["--checkpoint", folder / "draft", "--adapt", "--vocabulary", "60", "--data", folder / "data"]
    asked = ["How are you?", "Tell me a story about a cat and a dog."]
    alone = [said_by(capsys, *words, "--prompt", prompt).splitlines()[0] for prompt in asked]
    for way in ([], drafts):
        lines = said_by(capsys, *words, *way, "--prompt", *asked).splitlines()
        assert [lines[lines.index(f"# {prompt}") + 1] for prompt in asked] == alone


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--draft-model", "y", "--checkpoint", "x"], "--checkpoint and --draft-model: there are 2 drafters"),
        (["--lookup", "2", "--adapt"], "lookup has no confidence, no step to save and no head to trim"),
        (["--lookup", "0"], "max_ngram: 0 is not ≥ 1"),
        (
            ["--lookup", "2", "--tree", "8", "2"],
            "drafters.lookup: lookup drafts no trees: drafting options is not for it",
        ),
        (["--lookup", "2", "--tree", "0", "2"], "tree.nodes: 0 is not ≥ 1"),
        (["--lookup", "2", "--tree", "8", "2", "--trace", "x"], "--trace: it shows chains of drafted tokens"),
        (["--draft-model", "nowhere"], "nowhere/tokenizer.json: file not found"),
        (["--lookup", "2", "--max-new-tokens", "1000"], "do not fit into the target's context"),
        (["--min-confidence", "3"], "min_confidence: 3.0 is not in [0, 1]"),
    ],
)
def test_bad_drafters_are_one_line(study, capsys, options, message):
    folder, _ = study
    assert main(["generate", "--prompt", "x", "--target", str(folder / "target"), *options]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert len(said.splitlines()) == 1


ONE, THREE = ["--points", '[["lookup", 2]]'], ["--settings", '{"samples": 3}']
SWEEP = ["--samples", "3", "--retime-minutes", "0", "--statistics", '{"resamples": 20}']


@pytest.mark.parametrize(
    ("way", "columns"),
    [
        (["--lookup", "2"], {"drafter": "lookup", "layer": "", "drafting": "fixed"}),
        (["--checkpoint", "draft", "--adapt"], {"drafter": "early_exit", "layer": "1", "drafting": "options"}),
        (["--checkpoint", "draft", "--lookup", "3"], {"drafter": "lookup, else early_exit", "layer": "1"}),
        (["--draft-model", "target"], {"drafter": "target", "layer": ""}),
    ],
    ids=["lookup", "exit", "hybrid", "model"],
)
def test_a_drafter_at_several_lengths_is_a_printed_table_a_csv_file_and_a_figure(study, capsys, tmp_path, way, columns):
    folder, _ = study
    way = [folder / word if word in ("draft", "target") else word for word in way]
    words = ["length-sweep", *common(folder), *way, *SWEEP, "--gamma", "2", "--dtype", "float32"]
    said = said_by(capsys, *words, "--lengths", "4", "11", "--out-dir", tmp_path / "sweep")
    with open(tmp_path / "sweep/lengths.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["length"], row["samples"], row["gamma"]) for row in rows] == [("4", "3", "2"), ("11", "3", "2")]
    assert all(row.items() >= columns.items() for row in rows)
    lines = [re.findall(r"[^\s│]+", line) for line in said.splitlines() if "│" in line]
    for row, vanilla, drafter in zip(rows, lines[::2], lines[1::2], strict=True):
        values = [f"{float(row[name]):.3g}" for name in ("vanilla_s", "vanilla_tps", "vanilla_calls_per_token")]
        assert vanilla == [row["length"], "vanilla", *values]
        names = ("spec_s", "speedup", "spec_tps", "target_calls_per_token", "accept_rate")
        assert drafter == ["drafter", *(f"{float(row[name]):.3g}" for name in names)]
    assert {path.name for path in (tmp_path / "sweep").iterdir()} == {
        "raw",
        "lengths.csv",
        "lengths.pdf",
        "lengths.png",
    }


@pytest.mark.parametrize("width", [100, 300])
def test_an_interval_stands_beside_its_value_or_below_it_in_a_narrow_terminal(width):
    names = {name for _, *sides in length_sweep.SHOWN for name in sides if name}
    row = {f"{name}{end}": text for name in names for end, text in (("", "1.2345"), ("_low", "1.1"), ("_high", "12.5"))}
    console = Console(width=width, file=io.StringIO())
    console.print(length_sweep.printed([row | {"length": "50"}], width))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    cell = "1.23 [1.1, 12.5]"
    assert ("".join(lines).count(cell), "".join(lines).count("[1.1, 12.5]")) == ((8, 8) if width == 300 else (0, 8))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "nothing is drafted; name --checkpoint, --draft-model or --lookup"),
        (["--lookup", "2", "--lengths", "0"], "--lengths: 0 is not ≥ 1"),
        (["--lookup", "2", "--lengths", "9", "9"], "--lengths: found 9 9, ascending lengths without repeats are right"),
        (["--lookup", "2", "--lengths", "9999"], "--lengths: 9999 does not fit into the target's context of"),
        (["--lookup", "2", "--samples", "9"], "--samples: 9 is more than the 4 prompts of"),
        (["--lookup", "2", "--samples", "0"], "--samples: 0 is not ≥ 1"),
        (["--lookup", "2", "--gamma", "0"], "--gamma: 0 is not ≥ 1"),
        (["--lookup", "0", "--lengths", "9"], "max_ngram: 0 is not ≥ 1"),
    ],
)
def test_a_wrong_sweep_of_lengths_is_one_line_and_leaves_no_table(study, capsys, tmp_path, options, message):
    folder, _ = study
    words = ["length-sweep", *common(folder), "--samples", "3", "--out-dir", tmp_path / "never", *options]
    assert main([*map(str, words)]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert message in said[0]
    assert not list(tmp_path.glob("never/*"))


@pytest.mark.parametrize(
    ("stage", "options", "message"),
    [
        ("identity", ["--points", '[["lookup", 0]]'], "gamma: 0 is not ≥ 1"),
        ("identity", ["--points", '[["lookup"]]'], "--points: found ['lookup'], a list like"),
        ("identity", ["--points", '[["lookup", 2]]'], "--points: lookup is not among --checkpoints or --drafters"),
        ("identity", ["--points", '[["lookup", 2, "odd"]]'], "--points: 'odd' is not among --drafting (fixed)"),
        ("identity", ["--points", '[["lookup", 2]]', "--settings", '{"prompts": 9}'], "identity.prompts: 9 asked"),
        ("batch", ["--points", '[["lookup", 2]]', "--sizes", "9"], "--sizes: 9 is not between 1 and the 4 prompts"),
        ("lengths", [*ONE, "--lengths", "9", "5"], "--lengths: found 9 5, ascending"),
        ("lengths", [*ONE, *THREE, "--lengths", "9999"], "--lengths: 9999 does not fit into the target"),
        ("lengths", [*ONE, "--settings", '{"samples": 9}'], "lengths.samples: 9 is more than"),
        ("peers", ["--settings", '{"prompts": 3}', "--batches", "4"], "--batches: 4 is more than the 3 prompts"),
        ("peers", ["--settings", '{"prompts": 3, "layer": 9}'], "layer 9 is not a layer of the target"),
        ("compile", ["--modes", "fast"], "--modes: 'fast' is unknown; known are eager, compile"),
        ("compile", ["--depths", "9"], "--depths: 9 is not between 1 and the target's 4 layers"),
        ("compile", ["--settings", '{"steps": 2}'], "compile.steps: 2 is too few for quartiles"),
    ],
)
def test_bad_input_of_the_side_stages_is_one_line_and_leaves_nothing(study, capsys, stage, options, message):
    folder, _ = study
    words = [stage, "--target", folder / "target", "--out", folder / "never.csv", *options]
    words += [] if stage == "compile" else ["--data", folder / "data"]
    words += ["--policy", "greedy", "--policy-settings", GREEDY] if stage in ("batch", "lengths") else []
    if stage == "identity" and "prompts" not in " ".join(options):
        words += ["--settings", '{"prompts": 4}']
    assert main([*map(str, words)]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert message in said[-1]
    assert not (folder / "never.csv").exists()
