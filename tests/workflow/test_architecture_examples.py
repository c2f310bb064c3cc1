"""docs/architecture.md: its table of imports is that of the code, and its four extensions work as they stand there."""

import ast
import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from matplotlib.image import imread
from safetensors.torch import load_file
from tiny import conversations, tiny_target

from selfdraft.study.code_digests import closure, files_of, imported_by
from selfdraft.study.sweeps import checkpoints

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
BLOCK = re.compile(
    r"^(?:New file `(?P<new>[^`\n]+)`|In `(?P<file>[^`\n]+)`, (?P<how>below|above|in place of) `(?P<line>[^`\n]+)`):\n"
    r"\n?```\w+\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
# The same extensions on a model of four layers and a few dozen conversations, each measured by one draft.
SMALLER = {
    "layer": [1],
    "gamma": [3],
    "capacity": ["bias"],
    "drafter": ["ngram"],
    "held_out_tokens": 800,
    "sequence_length": 128,
    "prompts": 4,
    "prompt_length": [8, 64],
}
HIDDEN = 64


def place_of(line, lines, file):
    """Where the one line stands that reads so, or begins so if `line` ends in an ellipsis."""
    begins = line.removesuffix("…")
    found = [
        number
        for number, text in enumerate(lines)
        if (text.strip().startswith(begins) if begins != line else text.strip() == line)
    ]
    assert len(found) == 1, f"{file}: `{line}` stands there {len(found)} times"
    return found[0]


def apply(folder):
    """Do to the files below `folder` what the document says; returns the Python files that it touched."""
    touched = []
    for block in BLOCK.finditer(DOCUMENT):
        path = folder / (block["new"] or block["file"])
        touched.append(path)
        if block["new"]:
            assert not path.exists(), path
            path.write_text(block["text"], encoding="utf-8")
            continue
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        at = place_of(block["line"], lines, block["file"])
        first, behind = {"below": (at + 1, at + 1), "above": (at, at), "in place of": (at, at + 1)}[block["how"]]
        lines[first:behind] = block["text"].splitlines(keepends=True)
        path.write_text("".join(lines), encoding="utf-8")
    return sorted({str(path) for path in touched if path.suffix == ".py"})


def smaller(value):
    return {key: SMALLER.get(key, inner) for key, inner in value.items()}


def small_study(edited):
    """The tiny study with what the document adds to the default one, and nothing else to measure."""
    before = yaml.safe_load((ROOT / "config.yaml").read_text())
    study = yaml.safe_load((ROOT / "tests/workflow/tiny.yaml").read_text())
    places = [("drafters",), ("sweeps",), ("domains", "sets")]
    added = []
    for place in places:
        old, new = before, edited
        for key in place:
            old, new = old[key], new[key]
        added.append({name: made for name, made in new.items() if name not in old})
    study["drafters"] = added[0]
    study["sweeps"] = {name: smaller(sweep) for name, sweep in added[1].items()}
    study["domains"] = {
        "sweeps": list(added[1]),
        "sets": {name: smaller(made) for name, made in added[2].items()},
    }
    study["sweeps"]["gamma"] = study["sweeps"]["bias"]  # what the new figure draws
    for section in ("batch", "lengths", "peers", "identity", "compile", "drafting"):
        del study[section]
    return study


def records(folder):
    """The two data sets, in the layout that the document shows."""
    chats = [[turn["value"] for turn in record["conversations"]] for record in conversations(60, seed=5)]
    tickets = [{"number": number, "ticket": chat[0]} for number, chat in enumerate(chats[:20])]
    dolly = [
        {"instruction": chat[0], "context": chat[-1] if number % 2 else "", "response": chat[1]}
        for number, chat in enumerate(chats)
    ] + [{"instruction": "Without an answer"}]
    for name, made in (("tickets", tickets), ("dolly", dolly)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in made))


@pytest.fixture(scope="module")
def extended(tmp_path_factory, study_at):
    """A copy of the project with all four extensions; `touched` are their Python files."""
    study = study_at(tmp_path_factory.mktemp("extended"))
    shutil.copytree(ROOT / "tests", study / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", study / "pyproject.toml")
    study.touched = apply(study.folder)
    study.default = (study / "config.yaml").read_text()
    return study


@pytest.fixture(scope="module")
def measured(extended, warm_python):
    """The small study of the extensions, run to its results and the new figure."""
    tiny_target(extended / "target")
    (extended / "conversations.json").write_text(json.dumps(conversations(60)))
    records(extended.folder)
    (extended / "config.yaml").write_text(yaml.safe_dump(small_study(yaml.safe_load(extended.default))))
    tables = ["results/results.csv", "paper_figures/position.pdf"]
    done = extended.snakemake("--cores", "2", *tables, python=warm_python)
    (extended / "config.yaml").write_text(extended.default)
    assert done.returncode == 0, done.output
    with (extended / "results/results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def in_copy(study, *command):
    """Run a Python module in the copy, on the copy's package."""
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=study.folder,
        env=os.environ | {"PYTHONPATH": str(study / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_every_block_is_applied():
    fences = re.findall(r"^```(\w+)$", DOCUMENT, re.MULTILINE)
    assert len([kind for kind in fences if kind not in ("mermaid", "text")]) == len(BLOCK.findall(DOCUMENT))


def test_the_new_drafter_is_measured_and_its_answers_are_the_targets_own(measured):
    rows = {row["dataset"]: row for row in measured if row["drafter"] == "ngram"}
    assert set(rows) == {"tiny_chats", "tickets", "dolly"}
    assert {row["identical"] for row in rows.values()} == {"1"}
    assert {(row["layer"], row["kl"]) for row in rows.values()} == {("", "")}
    assert float(rows["tiny_chats"]["speedup"]) > 0
    assert max(float(row["accepted_mean"]) for row in rows.values()) > 0


def test_the_new_capacity_is_trained_and_has_as_many_parameters_as_the_document_says(measured, extended):
    (row,) = (row for row in measured if row["capacity"] == "bias" and row["speedup"])
    said = re.search(r"([\d,]+)\n?\s*`trained_parameters`: (\d+), the hidden size, of the norm and as many", DOCUMENT)
    assert int(said[1].replace(",", "")) == 2 * int(said[2])
    assert int(row["trained_parameters"]) == 2 * HIDDEN
    assert row["identical"] == "1"
    log = (extended / "results/checkpoints/layer1_T1.0_bias/train_log.jsonl").read_text().splitlines()
    seen = [line["validation_kl"] for line in map(json.loads, log) if line["validation_kl"] is not None]
    assert min(seen) < seen[0]
    assert load_file(extended / "results/checkpoints/layer1_T1.0_bias/draft.safetensors")["bias"].abs().max() > 0


def test_the_new_data_sets_are_measured_each_as_far_as_it_can_be(measured, extended):
    kl = {
        name: {row["kl"] != "" for row in measured if row["dataset"] == name and row["capacity"] == "bias"}
        for name in ("dolly", "tickets")
    }
    assert kl == {"dolly": {True}, "tickets": {False}}
    assert all(row["accepted_mean"] for row in measured if row["dataset"] in ("dolly", "tickets"))
    found = json.loads((extended / "results/data/dolly/sources.json").read_text())
    assert "missing fields" in json.dumps(found)


def test_the_new_figure_is_drawn(measured, extended):
    assert (extended / "paper_figures/position.pdf").read_bytes().startswith(b"%PDF")
    assert imread(extended / "paper_figures/position.png").min() < 0.5


def test_the_default_study_takes_them_in(extended):
    jobs = extended.to_do("all_figures")
    assert jobs["figure_position"] == 1
    before = checkpoints(yaml.safe_load((ROOT / "config.yaml").read_text()))
    assert jobs["train"] == len(before) + 1  # the bias alone: norm and translator are there


def test_the_projects_own_tests_take_them_in(extended):
    files = ["tests/study/test_config.py", "tests/decoding/test_distribution.py", "tests/decoding/test_loop.py"]
    files += ["tests/figures/test_figures.py"]
    # of the samples of test_distribution the small batches: all of them take half a minute for one drafter
    chosen = "(bias and vanillas) or ngram-4 or ngram-greedy or settings_of_the_schema or (position and not broken)"
    done = in_copy(extended, "pytest", "-n0", "-p", "no:cacheprovider", "-k", chosen, *files)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 10


def test_what_runs_again_is_what_the_document_says():
    stages = {"target", "data", "capture", "train", "quality", "vanilla", "acceptance", "speed", "machine", "results"}
    checked = 0
    for section in DOCUMENT.split("\n### "):
        said = re.search(r"Runs again: ((?:`\w+`[,\s]*)+)", section)
        if said is None:
            continue
        touched = {block["new"] or block["file"] for block in BLOCK.finditer(section)}
        uses = {stage for stage in stages if touched & set(code(stage))}
        uses |= {"figure"} if touched & set(code("figure")) else set()
        assert set(re.findall(r"`(\w+)`", said[1])) == uses, section.splitlines()[0]
        checked += 1
    assert checked == 3
    assert "src/selfdraft/sources/shapes/__init__.py" in code("data")


def code(stage):
    """The files of a stage as the document names them."""
    return [str(Path(file).resolve().relative_to(ROOT)) for file in files_of(stage)]


def test_they_are_in_the_projects_style(extended):
    for check in (["check"], ["format", "--check"]):
        done = in_copy(extended, "ruff", *check, *extended.touched)
        assert done.returncode == 0, done.stdout + done.stderr


def test_they_are_typed(extended):
    if (ROOT / ".mypy_cache").is_dir():  # of the last check of the project itself: this one then takes seconds
        shutil.copytree(ROOT / ".mypy_cache", extended / ".mypy_cache")
    files = [file for file in extended.touched if Path(file).is_relative_to(extended / "src")]
    done = in_copy(extended, "mypy", *files)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_packages_import_each_other_as_the_document_says():
    said = {}
    (table,) = (text for text in re.findall(r"^```text\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL) if "->" in text)
    for line in table.splitlines():
        package, others = line.split("->")
        said[package.strip()] = set(filter(None, re.split(r"[,\s]+", others)))
    found = {}
    for package in said:
        found[package] = set()
        for path in (ROOT / "src/selfdraft" / package).rglob("*.py"):
            module = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")
            found[package] |= {name.split(".")[1] for name in imported_by(module) if "." in name}
        found[package] &= set(said) - {package}
    assert found == said
    assert "torch" not in {
        name.split(".")[0]
        for module in closure("selfdraft.statistics.tables", "selfdraft.commands.figure")
        for name in top_level(module)
    }


def top_level(module):
    """What a module imports of other packages when it is imported itself."""
    path = ROOT / "src" / Path(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
