"""provenance.json of a study, and what `selfdraft provenance` says of its files, inside and outside a checkout."""

import contextlib
import csv
import json
import shutil
import subprocess
import sys
import tomllib
from hashlib import sha256
from importlib import metadata
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "statistics"))

import synthetic_study

from selfdraft.cli import main
from selfdraft.provenance import surroundings
from selfdraft.provenance.durations import durations
from selfdraft.study.options import config_hash

CONFIG = {
    "data": {"name": "sharegpt", "seed": 3},
    "training": {"seed": 0, "epochs": 1},
    "domains": {"sets": {"news": {"seed": 7}}},
    "figures": {"pareto": {"width": 5}},
}
RULES = {"train": r"results/benchmarks/train/(?P<draft>.+)\.tsv$", "results": r"results/benchmarks/results\.tsv$"}
HEADER = "s\th:m:s\tmax_rss\tmax_vms\n"
GRID = {"layer": [6, 14], "T": [1.0], "capacity": ["head"], "gamma": [4], "policy": ["greedy"]}
DRAFTS = ["layer6_T1.0_head", "layer14_T1.0_head"]
SWEEP = json.dumps({key: value for key, value in GRID.items() if key != "drafter"})


def git(*words):
    identity = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def say(capsys, *words):
    """What the command prints: its exit status, standard output and standard error."""
    capsys.readouterr()
    status = main(["provenance", *map(str, words)])
    return status, *capsys.readouterr()


def told(capsys, *words):
    status, output, error = say(capsys, *words, "--json")
    assert status == 0, error
    return json.loads(output)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def record(commit):
    configs = [f"results/checkpoints/{name}/config.json" for name in DRAFTS]
    words = ["record", "--config", json.dumps(CONFIG), f"--commit={commit}", "--machine", "results/machine.json"]
    words += ["--checkpoints", *configs, "--benchmarks", "results/benchmarks", "--rules", json.dumps(RULES)]
    assert main([*words, "--out", "results/provenance.json"]) == 0


@pytest.fixture
def study(made_study, tmp_path, monkeypatch):
    """A copy of `made_study` as the working directory; its commit."""
    folder, head = made_study
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return head


@pytest.fixture(scope="module")
def made_study(tmp_path_factory):
    """A study of synthetic tables in a checkout of its own, made by its stages: its folder and its commit."""
    folder = tmp_path_factory.mktemp("study")
    with contextlib.chdir(folder):
        return folder, made_here(folder)


def made_here(tmp_path):
    git("init")
    git("commit", "--allow-empty", "-m", "first")
    head = git("rev-parse", "HEAD")[:12]
    results = synthetic_study.write_study(tmp_path / "results", {"one": GRID}, conversations=6, prompts=4)
    tables = [f"--{kind}={results / kind}.csv" for kind in ("quality", "acceptance", "speed")]
    hashed = ["--commit", head, "--config-hash", config_hash(CONFIG), "--settings", '{"resamples": 20}']
    assert main(["results", *tables, *hashed, "--out", "results/results.csv"]) == 0
    write(results / ".results.csv.host-1-x.csv", "half")  # of a stage that is writing
    shutil.copy("results/quality.csv", write(results / "raw/quality/layer6_T1.0_head.csv", ""))
    write(results / "benchmarks/train/layer6_T1.0_head.tsv", f"{HEADER}61.5\t0:01:01\t300.5\t9\n")
    write(results / "benchmarks/train/layer14_T1.0_head.tsv", f"{HEADER}30.25\t0:00:30\t-\t-\n")
    write(results / "benchmarks/quality/layer6_T1.0_head.tsv", f"{HEADER}3\t0:00:03\t200\t9\n")
    write(results / "benchmarks/results.tsv", HEADER)  # the job was killed
    made = {"gpu": "NVIDIA GH200 480GB", "driver": "550.54.15", "packages": {"torch": "2.13.0"}, "dirty": False}
    for name in DRAFTS:
        config = {"drafter": "early_exit", "layer": 6, "seed": 0, "commit": head, "config_hash": "c" * 12}
        write(results / f"checkpoints/{name}/config.json", json.dumps(config | {"provenance": made}))
        write(results / f"checkpoints/{name}/draft.safetensors", "")
    write(results / "target/small/source.json", '{"kind": "path", "sha256": {"model": "77"}}')
    write(results / "data/sharegpt/sources.json", '{"name": "sharegpt", "settings": {"seed": 3}}')
    write(results / "data/sharegpt/index.json", "{}")
    record(head)
    shown = ["figure", "pareto", "--results", "results/results.csv", "--sweep", SWEEP]
    assert main(shown) == 0
    assert main(["figure", "training_curves", "--logs", *map(str, results.glob("checkpoints/*/*.jsonl"))]) == 0
    return head


def test_provenance_json_holds_code_settings_packages_machine_and_durations(study):
    found = json.loads(Path("results/provenance.json").read_text())
    assert (found["commit"], found["dirty"]) == (study, False)
    assert found["config_hash"] == config_hash(CONFIG)
    assert set(found["config_hashes"]) == {"data", "training", "domains"}
    assert found["config_hashes"]["data"] == config_hash(CONFIG, "data")
    assert found["seeds"] == {"data.seed": 3, "training.seed": 0, "domains.sets.news.seed": 7}
    assert found["config"] == {key: CONFIG[key] for key in ("data", "training", "domains")}
    assert found["packages"]["torch"] == metadata.version("torch")
    assert found["machine"] == {"read_bandwidth_gb_s": 31.0}
    assert found["durations"] == {"train": {"jobs": 2, "seconds": 91.8, "longest_s": 61.5, "max_rss_mb": 300.5}}
    assert list(found["checkpoints"]) == DRAFTS
    assert found["checkpoints"][DRAFTS[0]]["config_hash"] == "c" * 12
    names = [
        "acceptance.csv",
        "quality.csv",
        "raw/quality/layer6_T1.0_head.csv",
        "results.csv",
        "speed.csv",
        "steps.csv",
    ]
    assert found["tables"] == {name: sha256(Path("results", name).read_bytes()).hexdigest() for name in names}


def test_a_changed_checkout_is_recorded_and_told(study, capsys):
    record(f"{study}-dirty")
    found = json.loads(Path("results/provenance.json").read_text())
    assert (found["commit"], found["dirty"]) == (study, True)
    record("unknown")
    found = json.loads(Path("results/provenance.json").read_text())
    assert (found["commit"], found["dirty"]) == ("unknown", None)
    assert "commit         unknown\n" in say(capsys, "results")[1]


@pytest.mark.parametrize("kind", ["pdf", "png"])
def test_a_figure_leads_to_its_table_and_its_study(study, capsys, kind):
    facts = told(capsys, f"paper_figures/pareto.{kind}")
    assert list(facts["commits"]) == [study]
    assert facts["commits"][study] == {"known": True, "same": True, "present": study}
    assert facts["config_hash"] == [config_hash(CONFIG)]
    assert facts["tables"]["results.csv"]["found"] == "results/results.csv"
    assert facts["study"]["provenance"] == "results/provenance.json"
    assert facts["study"]["durations"]["train"]["jobs"] == 2


def test_a_figure_of_training_logs_leads_to_its_checkpoints(study, capsys):
    facts = told(capsys, "paper_figures/training_curves.pdf")
    assert sorted(facts["checkpoints"]) == sorted(DRAFTS)
    assert facts["checkpoints"][DRAFTS[0]]["machine"]["driver"] == "550.54.15"
    assert "driver 550.54.15" in say(capsys, "paper_figures/training_curves.pdf")[1]


def test_a_figure_of_a_table_that_was_replaced_is_not_given_that_study(study, capsys):
    table = Path("results/results.csv")
    table.write_text(table.read_text().replace(study, "0" * 12))
    facts = told(capsys, "paper_figures/pareto.pdf")
    assert facts["tables"]["results.csv"]["found"] is None
    assert list(facts["commits"]) == [study]
    record(study)  # now of the other table
    assert "study" not in told(capsys, "paper_figures/pareto.pdf")


def test_a_table_says_whether_it_is_the_one_that_was_recorded(study, capsys):
    table = Path("results/raw/quality/layer6_T1.0_head.csv")
    facts = told(capsys, table)
    assert facts["recorded"] == "these bytes"
    assert facts["duration"] == {"seconds": 3.0, "max_rss_mb": 200.0}
    assert facts["settings"]["capacity"] == ["head"]
    assert facts["study"]["seeds"]["data.seed"] == 3
    table.write_text(table.read_text().replace("head", "hood"))
    assert told(capsys, table)["recorded"] == "other bytes"
    shutil.copy(table, "results/new.csv")
    assert told(capsys, "results/new.csv")["recorded"] == "not listed"


def test_a_table_away_from_its_study_still_has_its_rows(study, capsys, tmp_path_factory):
    away = tmp_path_factory.mktemp("away")
    shutil.copy("results/results.csv", away)
    facts = told(capsys, away / "results.csv")
    assert (list(facts["commits"]), facts["config_hash"]) == ([study], [config_hash(CONFIG)])
    assert "study" not in facts


def test_the_tables_beside_results_lead_to_their_own_record(study, capsys):
    write(Path("results/batch.csv"), f"drafter,commit,config_hash\nlookup,{study},{'d' * 12}\n")
    facts = told(capsys, "results/batch.csv")
    assert facts["recorded"] == "not listed"
    words = ["record", "--commit", study, "--out", "results/provenance_of_benchmarks.json"]
    assert main(words) == 0
    facts = told(capsys, "results/batch.csv")
    assert facts["recorded"] == "these bytes"
    assert facts["study"]["provenance"] == "results/provenance_of_benchmarks.json"
    assert told(capsys, "results/results.csv")["study"]["provenance"] == "results/provenance.json"


@pytest.mark.parametrize("file", ["", "draft.safetensors", "config.json", "train_log.jsonl"])
def test_a_checkpoint_or_a_file_of_it_says_how_it_was_trained(study, capsys, file):
    facts = told(capsys, Path("results/checkpoints/layer6_T1.0_head", file))
    assert facts["kind"] == "checkpoint"
    assert facts["machine"]["gpu"] == "NVIDIA GH200 480GB"
    assert facts["packages"] == {"torch": "2.13.0"}
    assert facts["duration"]["seconds"] == 61.5
    assert facts["commits"][study]["same"] is True


@pytest.mark.parametrize(
    ("file", "kind", "source"),
    [
        ("target/small", "target", {"kind": "path", "sha256": {"model": "77"}}),
        ("target/small/source.json", "target", {"kind": "path", "sha256": {"model": "77"}}),
        ("data/sharegpt/index.json", "data", {"name": "sharegpt", "settings": {"seed": 3}}),
    ],
)
def test_targets_and_data_say_where_they_came_from(study, capsys, file, kind, source):
    facts = told(capsys, f"results/{file}")
    assert (facts["kind"], facts["source"]) == (kind, source)
    assert facts["study"]["provenance"] == "results/provenance.json"


def test_the_words_name_everything_once(study, capsys):
    status, words, _ = say(capsys, "results/provenance.json", "results/machine.json")
    assert status == 0
    first = words.split("\n\n")[0]
    for part in (f"{study} (the present one)", "data.seed 3", f"torch {metadata.version('torch')}", "gb s 31.0"):
        assert first.count(part) == 1, part
    assert "train: 2 jobs, 92 s together, 62 s the longest, up to 300 MB" in first
    assert "results/machine.json: machine" in words


def test_it_says_whether_the_commit_is_the_present_one(study, capsys):
    git("commit", "--allow-empty", "-m", "second")
    answer = told(capsys, "results/provenance.json")["commits"][study]
    assert (answer["known"], answer["same"]) == (True, False)
    assert f"{study} (known here; the present one is" in say(capsys, "results/provenance.json")[1]
    assert answer["present"] == git("rev-parse", "HEAD")[:12]
    record("abcdef012345")
    assert told(capsys, "results/provenance.json")["commits"]["abcdef012345"]["known"] is False
    assert "abcdef012345 (not a commit of this checkout)" in say(capsys, "results/provenance.json")[1]


def test_a_commit_is_never_read_as_an_option(study, capsys):
    record("--output=stolen")
    assert told(capsys, "results")["commits"]["--output=stolen"]["known"] is None
    assert not Path("stolen").exists()


def test_without_git_the_rest_is_told(study, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert told(capsys, "results")["commits"][study] == {"known": None, "same": None, "present": None}
    assert f"{study} (no git checkout here to look it up in)" in say(capsys, "results")[1]


def nothing(folder):
    write(folder / "some.csv", "a,b\n1,2\n")
    write(folder / "empty.csv", "")
    write(folder / "notes.txt", "x")
    write(folder / "odd/provenance.json", "{}")
    write(folder / "broken/provenance.json", '{"commit": ')
    write(folder / "list/provenance.json", "[]")
    write(folder / "fake.pdf", "not a PDF")
    write(folder / "fake.png", "not a PNG")
    figures = Path("paper_figures")
    write(folder / "cut.pdf", "").write_bytes((figures / "pareto.pdf").read_bytes()[:-30])
    write(folder / "cut.png", "").write_bytes((figures / "pareto.png").read_bytes()[:9000])
    from matplotlib.figure import Figure

    for kind in ("pdf", "png"):
        Figure().savefig(folder / f"foreign.{kind}")
    return folder


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("missing.pdf", "missing.pdf: no such file or folder"),
        ("some.csv", "some.csv: tells nothing of its provenance"),
        ("empty.csv", "empty.csv: the file is empty"),
        ("notes.txt", "notes.txt: tells nothing of its provenance"),
        ("odd", "odd/provenance.json: no commit or packages in it"),
        ("broken/provenance.json", "broken/provenance.json: not valid JSON"),
        ("list", "list/provenance.json: holds no JSON object"),
        ("fake.pdf", "fake.pdf: not a PDF"),
        ("fake.png", "fake.png: not a whole PNG"),
        ("cut.pdf", "cut.pdf: the PDF is cut short"),
        ("cut.png", "cut.png: not a whole PNG"),
        ("foreign.pdf", "foreign.pdf: says nothing of its provenance"),
        ("foreign.png", "foreign.png: says nothing of its provenance"),
        (".", "tells nothing of its provenance"),
    ],
)
def test_what_tells_nothing_is_one_line(study, capsys, tmp_path_factory, file, message):
    away = nothing(tmp_path_factory.mktemp("away"))
    status, output, error = say(capsys, away / file)
    assert (status, output) == (2, "")
    assert message in error
    assert error.count("\n") == 1


def test_a_reader_that_stops_early_is_no_error(study):
    command = f"{sys.executable} -m selfdraft provenance results paper_figures/pareto.pdf | true"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_durations_belong_to_the_rule_whose_pattern_fits_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, seconds in (("a/x", "1"), ("a/x.tsv", "9"), ("b", "NA"), ("b2", "2")):
        write(Path(f"results/benchmarks/{name}.tsv"), f"{HEADER}{seconds}\t0\t10\t-\n")
    patterns = {name: rf"results/benchmarks/{name}(\.tsv)?" for name in ("a/x", "b", "b2", "c")}
    one = {"jobs": 1, "max_rss_mb": 10.0}
    assert durations("results/benchmarks", patterns) == {
        "a/x": one | {"seconds": 1.0, "longest_s": 1.0},
        "b2": one | {"seconds": 2.0, "longest_s": 2.0},
    }


def test_all_direct_dependencies_are_among_the_packages():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    names = [text.split(">")[0].split("=")[0] for text in project["dependencies"]]
    assert set(names) <= set(surroundings.PACKAGES)
    assert surroundings.packages()["numpy"] == metadata.version("numpy")


def test_a_machine_without_a_gpu_says_so_and_names_its_processor():
    here = surroundings.machine("cpu")
    assert (here["gpu"], here["driver"]) == (None, None)
    assert here["cpu"]
    assert here["cores"] >= 1


def test_the_driver_is_the_kernels_or_what_nvidia_smi_says(tmp_path, monkeypatch):
    monkeypatch.setattr(surroundings, "DRIVER", tmp_path / "version")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert surroundings.driver_version() is None
    tool = write(tmp_path / "nvidia-smi", "#!/bin/sh\necho 550.54.15\necho 550.54.15\n")
    tool.chmod(0o755)
    assert surroundings.driver_version() == "550.54.15"
    tool.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    assert surroundings.driver_version() is None
    write(tmp_path / "version", "570.1\n")
    assert surroundings.driver_version() == "570.1"


def test_side_tables_carry_commit_and_config_hash(tmp_path):
    from selfdraft.statistics.bootstrap import Bootstrap
    from selfdraft.statistics.side_tables import write_table

    columns = ["drafter", "layer", "T", "capacity", "objective", "seed", "policy", "gamma", "dataset", "drafting"]
    columns += ["dtype", "device", "prompt", "new_tokens", "identical", "first_divergence", "top2_gap"]
    row = dict.fromkeys(columns, "") | {"drafter": "lookup", "prompt": "0", "new_tokens": "4", "identical": "1"}
    with open(tmp_path / "raw.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows([row, row | {"prompt": "1"}])
    write_table("identity", tmp_path / "raw.csv", tmp_path / "identity.csv", Bootstrap(resamples=5), "abc", "123")
    with open(tmp_path / "identity.csv", newline="") as file:
        assert [(made["commit"], made["config_hash"]) for made in csv.DictReader(file)] == [("abc", "123")]
