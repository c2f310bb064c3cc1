"""A tiny study through Snakemake, from the model's files to the figures, and what makes it run again."""

import csv
import json
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
import yaml
from tiny import main as tiny_study

from selfdraft.plan.disk import bytes_by_rule
from selfdraft.provenance import commit
from selfdraft.provenance.describe import describe
from selfdraft.study.config import load
from selfdraft.study.drawing import ALL_FIGURES, FIGURES
from selfdraft.study.expected import measured_costs
from selfdraft.study.model_sizes import model_parameters, model_sizes

TINY = "tests/workflow/tiny.yaml"
DRAFTS = 5 + 2  # of the sweeps of layers and temperature; two more capacities
# the sweeps of layers, temperature and gamma; two capacities; three ways of drafting; seven other drafters
GROUPS = 3  # of drafts that are measured by one job: two layers at T = 1, one of them at T = 2
POINTS = 10 + 2 + 3 + 7
DRAFTERS = {"early_exit", "lookup", "small", "eagle", "both", "taught", "fast", "chosen"}


@pytest.fixture(scope="module")
def tiny(study, warm_python):
    """The finished tiny study. Tests that change it put back what they changed."""
    tiny_study(str(study.folder))
    study.configure(start=TINY)
    words = ["--logger", "selfdraft", "--cores", "2", "all_figures", "all_benchmarks"]
    done = study.snakemake(*words, python=warm_python)
    assert done.returncode == 0, done.output
    study.said = done.output
    return study


DRAWN = [name for name in ALL_FIGURES if name != "learning"]


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_terminal_tells_of_each_job_in_one_line_and_of_the_results_at_the_end(tiny):
    lines = tiny.said.splitlines()
    jobs = next(int(line.split()[0]) for line in lines if re.match(r"\d+ jobs: ", line))
    told = [line for line in lines if re.match(rf" *\d+/{jobs}  \S", line)]
    assert len(told) == jobs > 60
    assert all(line.endswith(" left)") for line in told[:-1])
    assert any(line.startswith("About ") for line in lines)
    assert any(line.startswith("The first figure is there: paper_figures/") for line in lines[: -len(FIGURES)])
    assert any(re.match(r"Timed runs that something disturbed: \d+ of \d+\.", line) for line in lines)
    assert any(re.match(r"Done in \d+:\d\d\.", line) for line in lines)
    assert "Figures: paper_figures/ (23 new), each as .pdf and .png." in lines
    assert any(re.search(r"- The fastest of \d+ points, .* over the target alone", line) for line in lines)
    assert "Reason" not in tiny.said


def test_every_figure_is_drawn_as_pdf_and_png(tiny):
    for figure in DRAWN:
        assert (tiny / f"paper_figures/{figure}.pdf").read_bytes().startswith(b"%PDF")
        assert (tiny / f"paper_figures/{figure}.png").read_bytes().startswith(b"\x89PNG")


def test_results_have_a_row_for_each_point_with_intervals_of_known_origin(tiny):
    results = [row for row in rows(tiny / "results/results.csv") if row["dataset"] == "tiny_chats"]
    assert len(results) == POINTS
    settings = ("drafter", "layer", "T", "capacity", "gamma", "policy", "drafting")
    assert len({tuple(row[name] for name in settings) for row in results}) == POINTS
    assert {row["drafting"] for row in results} == {"fixed", "confident", "adaptive", "trimmed"}
    assert {row["drafter"] for row in results} == DRAFTERS
    for row in results:
        assert (row["kl"] == "") == (row["drafter"] != "early_exit")
        for name in ("accepted_mean", "speedup", "vanilla_tps", "transformers_tps"):
            assert float(row[name]) >= 0, name
        # The dynamic drafter may have drafted nothing where steps were timed: there is no draft step to predict from.
        assert row["predicted_speedup"] != "" or row["drafter"] == "chosen"
        assert float(row["predicted_speedup"] or 0) >= 0
        assert row["commit"]
        assert len(row["config_hash"]) == 12


def test_other_text_has_rows_of_its_own_with_what_was_measured_on_it(tiny):
    by_set = {name: [] for name in ("documents", "questions")}
    for row in rows(tiny / "results/results.csv"):
        if row["dataset"] != "tiny_chats":
            by_set[row["dataset"]].append(row)
    drafts = [("early_exit", "fixed"), ("early_exit", "trimmed"), ("lookup", "fixed"), ("small", "fixed")]
    assert sorted((row["drafter"], row["drafting"]) for row in by_set["questions"]) == drafts
    assert all(float(row["accepted_mean"]) >= 0 for row in by_set["questions"])
    assert [row["drafter"] for row in by_set["documents"]] == ["early_exit"]
    drafts_of = [row for found in by_set.values() for row in found if row["drafter"] == "early_exit"]
    assert all(int(row["trained_parameters"]) > 0 for row in drafts_of)
    measured = {
        name: {row["kl"] != "" for row in found if row["drafter"] == "early_exit"} for name, found in by_set.items()
    }
    assert measured == {"documents": {True}, "questions": {False}}
    assert {(row["accepted_mean"], row["policy"]) for row in by_set["documents"]} == {("", "")}
    assert {row["speedup"] for row in by_set["documents"]} == {""}
    timed = {(row["drafter"], row["drafting"]) for row in by_set["questions"] if row["speedup"] != ""}
    assert timed == {("early_exit", "fixed"), ("early_exit", "trimmed")}  # the sweep of domains.timed
    assert {row["vanilla_tps"] != "" for row in by_set["questions"]} == {True, False}
    assert len({row["kl"] for row in rows(tiny / "results/results.csv") if row["capacity"] == "head_block"} - {""}) > 3


def test_nothing_of_other_text_is_trained_on(tiny):
    folder = tiny / "results/data/documents"
    assert sorted(path.name for path in folder.iterdir()) == ["held_out.safetensors", "index.json", "sources.json"]
    assert sorted(path.name for path in (tiny / "results/data/questions").iterdir()) == [
        "index.json", "prompts.json", "sources.json",
    ]  # fmt: skip


def test_another_data_set_measures_itself_alone(tiny):
    sets = yaml.safe_load((Path(__file__).parent / "tiny.yaml").read_text())["domains"]["sets"]
    more = sets | {"more": sets["documents"] | {"held_out_tokens": 400}}
    tiny.configure(("domains/sets", more), start=TINY)
    try:
        jobs = tiny.to_do("all_results")
    finally:
        tiny.configure(start=TINY)
    assert jobs == {
        "domain_data": 1, "domain_capture": 1, "domain_quality": 1, "gather_quality": 1, "differences": 1,
        "results": 1, "methods": 1, "online": 1, "exit_layers": 1, "provenance": 1, "all_results": 1,
    }  # fmt: skip


def test_greedy_output_is_the_targets_own(tiny):
    greedy = [row for row in rows(tiny / "results/results.csv") if row["policy"] == "greedy"]
    assert greedy
    assert {float(row["identical"]) for row in greedy} == {1.0}


def test_every_drafter_is_identical_with_vanilla_in_float32(tiny):
    table = rows(tiny / "results/identity.csv")
    assert {row["drafting"] for row in table} == {"fixed", "confident", "adaptive", "trimmed"}
    assert {row["drafter"] for row in table} == {"early_exit", "lookup", "small", "eagle", "both", "taught"}
    assert {(row["dtype"], row["identical"], row["divergences"]) for row in table} == {("float32", "1", "0")}


def test_heads_are_calibrated_asked_and_compared_with_the_exit_that_is_measured_alone(tiny):
    calibration = json.loads((tiny / "results/drafters/heads/calibration.json").read_text())
    assert calibration["no_harm"]["gamma"] == 2
    table = rows(tiny / "results/exit_layers.csv")
    assert {(row["kind"], row["drafter"]) for row in table} >= {
        ("adaptive_early_exit", "fast"), ("dynamic", "chosen"), ("best_level", "fast"), ("fixed_exit", "early_exit"),
    }  # fmt: skip
    (best,) = (row for row in table if row["kind"] == "best_level")
    assert (best["fixed_layers"], best["levels"]) == ("1", "0.5")
    assert best["speedup_over_fixed"]
    asked = {row["layer"]: row for row in table if row["drafter"] == "fast" and row["ask_share"]}
    assert set(asked) <= {"1", "2"}
    assert asked
    assert {row["mode"] for row in rows(tiny / "results/unverified.csv")} == {"full", "fixed_exit", "lossy_adaptive"}
    assert {row["layer"] for row in rows(tiny / "results/head_curves.csv")} == {"1", "2"}


def test_the_side_tables_hold_what_their_sections_ask_for(tiny):
    batches = rows(tiny / "results/batch.csv")
    assert {(row["drafter"], row["batch"]) for row in batches} == {(d, b) for d in ("lookup", "small") for b in "14"}
    assert all(float(row["speedup_low"]) <= float(row["speedup"]) <= float(row["speedup_high"]) for row in batches)
    lengths = rows(tiny / "results/lengths.csv")
    assert {(row["drafter"], row["length"]) for row in lengths} == {(d, n) for d in ("lookup", "small") for n in "48"}
    assert {(row["samples"], row["vanilla_calls_per_token"]) for row in lengths} == {("2", "1")}
    peers = {(row["implementation"], row["method"]) for row in rows(tiny / "results/peers.csv")}
    methods = ("vanilla", "early exit", "prompt lookup", "draft model")
    assert {(name, method) for name in ("selfdraft", "transformers") for method in methods} <= peers
    steps = rows(tiny / "results/compile.csv")
    assert {row["depth"] for row in steps} == {"4"}
    assert all(row["step_ms"] or row["note"] for row in steps)


def test_each_checkpoint_says_how_it_was_made(tiny):
    folders = sorted((tiny / "results/checkpoints").glob("layer*"))
    assert len(folders) == DRAFTS
    for folder in folders:
        config = json.loads((folder / "config.json").read_text())
        assert config["commit"]
        assert len(config["config_hash"]) == 12
        first = json.loads((folder / "train_log.jsonl").read_text().splitlines()[0])
        assert first["step"] == 0
        assert first["validation_kl"] is not None


def test_provenance_json_tells_what_made_the_results(tiny):
    config = yaml.safe_load((Path(__file__).parent / "tiny.yaml").read_text())
    found = json.loads((tiny / "results/provenance.json").read_text())
    (row, *_) = rows(tiny / "results/results.csv")
    assert (found["commit"], found["config_hash"]) == (row["commit"], row["config_hash"])
    assert found["seeds"]["data.seed"] == config["data"]["seed"]
    assert found["machine"] == json.loads((tiny / "results/machine.json").read_text())
    assert (found["machine"]["gpu"], found["machine"]["driver"]) == (None, None) or found["machine"]["device"] != "cpu"
    jobs = {rule: ran["jobs"] for rule, ran in found["durations"].items()}
    assert (jobs["train"], jobs["quality"], jobs["target"], jobs["results"]) == (DRAFTS, GROUPS, 1, 1)
    policies = len({row["policy"] for row in rows(tiny / "results/speed.csv")})
    assert jobs["speed"] == policies
    assert jobs["acceptance"] == GROUPS + 1
    assert all(ran["seconds"] > 0 for ran in found["durations"].values())
    assert set(found["checkpoints"]) == {path.name for path in (tiny / "results/checkpoints").glob("layer*")}


def test_every_checkpoint_table_and_figure_can_be_traced(tiny):
    results = tiny / "results"
    study = json.loads((results / "provenance.json").read_text())
    tables = [*results.glob("*.csv"), *results.glob("raw/**/*.csv")]
    assert len(tables) > 2 * GROUPS
    for table in tables:
        told = describe(table)
        assert told["recorded"] == "these bytes", table
        assert told["study"]["packages"]["torch"] == study["packages"]["torch"]
    for table in ("results", "batch", "lengths", "peers", "identity", "compile"):
        told = describe(results / f"{table}.csv")
        assert list(told["commits"]) == [study["commit"]]
        assert [len(value) for value in told["config_hash"]] == [12]
    for folder in results.glob("checkpoints/layer*"):
        told = describe(folder)
        assert told["config_hash"] == [study["checkpoints"][folder.name]["config_hash"]]
        assert told["packages"] == study["packages"]
        assert told["machine"]["cpu"] == study["machine"]["cpu"]
        assert told["duration"]["seconds"] > 0
    for figure in DRAWN:
        for kind in ("pdf", "png"):
            told = describe(tiny / f"paper_figures/{figure}.{kind}")
            assert all(table["found"] for table in told["tables"].values()), figure
            if figure == "training_curves":
                assert told["checkpoints"]
            else:
                assert told["study"]["seeds"] == study["seeds"]
    for folder in [*results.glob("target/*"), *results.glob("data/*")]:
        assert describe(folder)["source"]
    assert describe(results)["durations"] == study["durations"]


def test_a_new_commit_alone_runs_nothing_again(tiny):
    for words in (["init"], ["add", "src"], ["commit", "-m", "x"]):
        identity = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *words], cwd=tiny.folder, check=True, capture_output=True)
    try:
        assert commit(tiny / "src") != "unknown"
        assert tiny.to_do("all_figures", "all_benchmarks") == {}
    finally:
        shutil.rmtree(tiny / ".git")


def test_without_provenance_json_it_alone_is_written_again(tiny):
    path = tiny / "results/provenance.json"
    aside = path.rename(path.with_suffix(".aside"))
    try:
        assert tiny.to_do() == {"provenance": 1, "all_figures": 1}
    finally:
        aside.rename(path)


def test_a_second_run_does_nothing(tiny):
    assert tiny.to_do("all_figures") == {}


def bytes_of(folder, pattern="*"):
    return sum(path.stat().st_size for path in folder.rglob(pattern) if path.is_file())


def test_a_plan_tells_the_bytes_that_a_study_leaves(tiny):
    config = load(Path(__file__).parent / "tiny.yaml")
    told = bytes_by_rule(config, model_sizes(config, tiny / "results"))
    results = tiny / "results"
    assert told["capture"] + told["domain_capture"] == pytest.approx(bytes_of(results / "capture/.states"), rel=0.03)
    assert told["train"] == pytest.approx(bytes_of(results / "checkpoints", "draft.safetensors"), rel=0.03)
    assert told["target"] == pytest.approx(bytes_of(results / "target/tiny", "model.safetensors"), rel=0.03)


def test_a_plan_of_the_same_study_takes_as_long_as_the_run_that_was_measured(tiny):
    config = load(Path(__file__).parent / "tiny.yaml")
    costs = measured_costs(tiny / "results")
    jobs = {rule: int(ran["jobs"]) for rule, ran in costs.rules.items()}
    told = costs.seconds(jobs, config, model_parameters(config, tiny / "results"))
    assert told == pytest.approx({rule: ran["seconds"] for rule, ran in costs.rules.items()})
    assert jobs["train"] == DRAFTS


def test_a_new_style_draws_that_figure_alone(tiny):
    tiny.configure(("figures", {"pareto": {"width": 5}}), start=TINY)
    try:
        assert tiny.to_do() == {"figure_pareto": 1, "all_figures": 1}
    finally:
        tiny.configure(start=TINY)


@pytest.mark.parametrize(
    ("module", "again"),
    [
        ("figures/pareto.py", {"figure_pareto"}),
        ("commands/train.py", {"train", "quality", "acceptance", "speed", "results"}),
        ("commands/results.py", {"results"}),
    ],
)
def test_changed_code_runs_the_stages_that_use_it(tiny, module, again):
    path = tiny / "src/selfdraft" / module
    before = path.read_text()
    path.write_text(before + "\n# changed\n")
    try:
        jobs = tiny.to_do()
    finally:
        path.write_text(before)
    figures = {name for name in jobs if name.startswith("figure_")}
    assert again <= set(jobs)
    assert ("train" in jobs) == ("train" in again)
    assert figures == {"figure_pareto"} or "results" in again


def test_a_new_layer_trains_only_the_new_draft(tiny):
    tiny.configure(("sweeps/gamma/layer", [1, 0]), start=TINY)
    try:
        jobs = tiny.to_do()
    finally:
        tiny.configure(start=TINY)
    # a layer of its own is a group of its own
    assert (jobs["train"], jobs["quality"], jobs["acceptance"]) == (1, 1, 1)
    assert "capture" not in jobs  # the draft with lora reads the states at depth 0 already
    assert "target" not in jobs
    assert "data" not in jobs


def test_a_changed_rate_trains_only_the_drafts_that_have_that_part(tiny):
    tiny.configure(("training/learning_rate/block", 2e-3), start=TINY)
    try:
        jobs = tiny.to_do()
    finally:
        tiny.configure(start=TINY)
    assert jobs["train"] == 3  # head_block at two layers, and at another temperature
    assert "capture" not in jobs


def test_the_report_holds_every_figure(tiny):
    done = tiny.snakemake("--report", "report.zip", "all_figures", "all_benchmarks")
    assert done.returncode == 0, done.output
    names = zipfile.ZipFile(tiny / "report.zip").namelist()
    assert all(any(Path(name).name == f"{figure}.png" for name in names) for figure in DRAWN)


def test_the_same_seed_gives_the_same_tables_byte_for_byte(tiny, study_at, tmp_path):
    again = study_at(tmp_path / "again")
    for name in ("target", "results/target", "results/data"):
        shutil.copytree(tiny / name, again / name)
    shutil.copytree(tiny / "small", again / "small")
    shutil.copy(tiny / "conversations.json", again / "conversations.json")
    again.configure(start=TINY)
    tables = ["results/raw/quality/layer3_T1.0.csv", "results/raw/acceptance/layer3_T1.0.csv"]
    done = again.snakemake("--cores", "2", *tables)
    assert done.returncode == 0, done.output
    for table in tables:
        assert (again / table).read_bytes() == (tiny / table).read_bytes(), table


def test_a_new_layer_outside_the_model_is_told_before_anything_runs(tiny):
    tiny.configure(("sweeps/gamma/layer", [1, 4]), start=TINY)
    try:
        done = tiny.snakemake("--cores", "2", "all_figures")
    finally:
        tiny.configure(start=TINY)
    assert done.returncode != 0
    assert "config.yaml: sweeps.gamma.layer.1: 4 is not a layer of the target (0…3)" in done.output


def test_a_layer_outside_the_model_stops_the_first_job_with_one_line(tiny, study_at, tmp_path):
    study = study_at(tmp_path / "wrong")
    for name in ("target", "small"):
        shutil.copytree(tiny / name, study / name)
    shutil.copy(tiny / "conversations.json", study / "conversations.json")
    study.configure(("sweeps/layers/layer", [1, 9]), start=TINY)
    done = study.snakemake("--cores", "2", "--keep-going", "results/data/tiny_chats/index.json")
    assert done.returncode != 0
    assert "layer 9 is not a layer of the target (0…3)" in done.output
    assert not list((study / "results").glob("*/tiny*/*"))


def test_a_missing_model_is_named(tiny, study_at, tmp_path):
    study = study_at(tmp_path / "missing")
    study.configure(("target/source/path", "nowhere"), start=TINY)
    done = study.snakemake("--cores", "1", "target")
    assert done.returncode != 0
    assert "nowhere: no such file or folder" in done.output
