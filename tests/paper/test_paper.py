"""The paper of the reference run: its numbers, its tables for LaTeX, and a PDF whose bytes follow from the tables."""

import csv
import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from pypdf import PdfReader

from selfdraft.cli import main
from selfdraft.provenance.figure_metadata import figure_of
from selfdraft.study.drawing import FIGURES, PAPER_FIGURES

ROOT = Path(__file__).resolve().parents[2]
TEXT = ROOT / "paper"
REFERENCE = ROOT / "docs/reference"
BESIDE = ("batch", "peers", "identity", "compile")
DRAWN = ("pareto", "gamma", "cycle_time")  # of PAPER_FIGURES those that are tried here
PROVENANCE = {
    "python": "3.12.0",
    "packages": {"torch": "2.0"},
    "machine": {"cpu": "A processor", "threads": 2, "read_bandwidth_gb_s": 31.25},
    "config": yaml.safe_load((ROOT / "config.yaml").read_text())
    | {
        "data": {"name": "sharegpt", "prompts": 24, "prompt_length": [64, 256]},
        "policies": {"greedy": {"temperature": 0.0}, "t0.7": {"temperature": 0.7, "top_p": 0.95}},
        "training": {"objective": "kl", "epochs": 1, "seed": 0},
        "statistics": {"confidence": 0.95, "resamples": 199},
    },
}


def numbers_of(folder, out, *beside, provenance=None):
    words = [word for name in beside for word in (f"--{name}", str(folder / f"{name}.csv"))]
    words += ["--provenance", str(provenance)] if provenance else []
    assert main(["paper-numbers", "--results", str(folder / "results.csv"), *words, "--out-dir", str(out)]) == 0
    return out


def paper_of(numbers, figures, out):
    assert (
        main(["paper", "--text", str(TEXT), "--numbers", str(numbers), "--figures", *figures, "--out", str(out)]) == 0
    )
    return out


def text_of(path):
    return " ".join(" ".join(page.extract_text() for page in PdfReader(path).pages).split())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The whole paper: the tables, `numbers`, `figures` and `paper.pdf` in a folder."""
    folder = tmp_path_factory.mktemp("paper")
    for name in ("results", *BESIDE):
        shutil.copy(REFERENCE / f"{name}.csv", folder)
    (folder / "provenance.json").write_text(json.dumps(PROVENANCE))
    numbers_of(folder, folder / "numbers", *BESIDE, provenance=folder / "provenance.json")
    sweeps = yaml.safe_load((ROOT / "config.yaml").read_text())["sweeps"]
    for name in DRAWN:
        sweep = json.dumps(sweeps[FIGURES[name]] | {"dataset": ["sharegpt"]})
        words = ["--results", str(folder / "results.csv"), "--sweep", sweep, "--out-dir", str(folder / "figures")]
        assert main(["figure", name, *words]) == 0
    paper_of(folder / "numbers", [str(path) for path in figures_of(folder)], folder / "paper.pdf")
    return folder


def figures_of(folder):
    return sorted((folder / "figures").glob("*.pdf"))


def test_the_paper_is_short_and_has_all_figures_tables_and_settings(made):
    assert 4 <= len(PdfReader(made / "paper.pdf").pages) <= 6
    text = text_of(made / "paper.pdf")
    assert all(f"Figure {number}." in text for number in range(1, len(DRAWN) + 1))
    said = json.loads((made / "numbers/numbers.json").read_text())
    shown = [
        name for name, table in said["tables"].items() if table["rows"] and name not in ("settings", "environment")
    ]
    assert all(f"Table {number}." in text for number in range(1, len(shown) + 1))
    for words in ("training.epochs", "sweeps.gamma", "gamma 2, 4, 8; policy greedy", "A processor", "31.2"):
        assert words in text
    assert set(DRAWN) <= set(PAPER_FIGURES)


def test_its_numbers_are_those_of_the_tables(made):
    results = pd.read_csv(made / "results.csv")
    point = results[(results["layer"] == 21) & (results["capacity"] == "head_block") & (results["gamma"] == 8)].iloc[0]
    with (made / "numbers/variations.csv").open(newline="") as file:
        (row,) = (row for row in csv.DictReader(file) if (row["varied"], row["value"]) == ("draft length", "8"))
    assert row["speedup"] == f"{point.speedup:.2f} [{point.speedup_low:.2f}, {point.speedup_high:.2f}]"
    assert row["speedup"].partition(" ")[0] in text_of(made / "paper.pdf")


def test_equal_tables_give_equal_bytes_elsewhere_and_on_another_day(made, tmp_path, monkeypatch):
    (tmp_path / "moved").mkdir()
    for path in (*made.glob("*.csv"), made / "provenance.json"):
        shutil.copy(path, tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    numbers_of(Path("moved"), Path("again"), *BESIDE, provenance="moved/provenance.json")
    for path in (made / "numbers").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    again = paper_of("again", [str(path) for path in figures_of(made)], "paper.pdf")
    assert Path(again).read_bytes() == (made / "paper.pdf").read_bytes()
    assert b"CreationDate" not in Path(again).read_bytes()


def test_it_says_which_tables_it_is_of(made, capsys):
    told = figure_of(made / "paper.pdf")
    results = pd.read_csv(made / "results.csv", dtype=str)
    assert (told["figure"], told["commits"]) == ("paper", sorted(results["commit"].unique()))
    tables = (pd.read_csv(made / f"{name}.csv", dtype=str) for name in ("results", *BESIDE))
    assert told["config_hashes"] == sorted({own for table in tables for own in table.get("config_hash", [])})
    assert set(told["tables"]) == {f"{name}.csv" for name in ("results", *BESIDE)}
    assert main(["provenance", str(made / "paper.pdf")]) == 0
    said = capsys.readouterr().out
    assert "figure paper, drawn by selfdraft" in said
    assert "found as" in said


def test_a_study_with_results_of_one_point_alone_says_what_was_not_measured(made, tmp_path):
    results = pd.read_csv(made / "results.csv", dtype=str, keep_default_na=False)
    one = results[(results["layer"] != "") & (results["speedup"] != "")].head(1)
    one.to_csv(tmp_path / "results.csv", index=False)
    paper = paper_of(numbers_of(tmp_path, tmp_path / "numbers"), [], tmp_path / "paper.pdf")
    text = text_of(paper)
    for words in ("Batches were not measured.", "Other implementations were not measured.", "Not recorded."):
        assert words in text


def test_each_table_is_a_latex_fragment_with_the_same_cells(made):
    for path in sorted((made / "numbers").glob("*.csv")):
        with path.open(newline="") as file:
            head, *rows = csv.reader(file)
        fragment = path.with_suffix(".tex").read_text()
        lines = [line for line in fragment.splitlines() if line.endswith(r"\\")]
        assert len(lines) == len(rows) + 1
        assert all(len(re.split(r"(?<!\\)&", line)) == len(head) for line in lines)
        assert fragment.startswith(r"\begin{tabular}{l")
        assert not re.search(r"(?<!\\)[_%#]", fragment)
    assert r"head\_block at layer 21" in (made / "numbers/variations.tex").read_text()


def refused(capsys, *words):
    assert main([str(word) for word in words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_file_that_is_another_one_is_refused_in_one_line(made, tmp_path, capsys):
    out = ["--out-dir", tmp_path / "numbers"]
    results = ["paper-numbers", "--results", made / "results.csv"]
    assert "is this batch.csv?" in refused(capsys, *results, "--batch", made / "peers.csv", *out)
    assert "column speedup, row 1" in refused(capsys, *results, "--batch", broken(made, tmp_path), *out)
    (tmp_path / "other.json").write_text("{}")
    assert "no config in it" in refused(capsys, *results, "--provenance", tmp_path / "other.json", *out)
    paper = ["paper", "--text", TEXT, "--out", tmp_path / "paper.pdf"]
    assert "numbers.json: file not found" in refused(capsys, *paper, "--numbers", tmp_path)
    numbers = ["--numbers", made / "numbers"]
    assert "not a PDF" in refused(capsys, *paper, *numbers, "--figures", made / "figures/pareto.png")
    assert "holds no paper.typ" in refused(capsys, "paper", "--text", tmp_path, *numbers)
    assert "is written as .pdf" in refused(capsys, *paper[:-1], tmp_path / "paper.html", *numbers)


def broken(made, tmp_path):
    text = (made / "batch.csv").read_text().splitlines()
    place = text[0].split(",").index("speedup")
    cells = text[1].split(",")
    cells[place] = "fast"
    (tmp_path / "batch.csv").write_text("\n".join([text[0], ",".join(cells), *text[2:]]) + "\n")
    return tmp_path / "batch.csv"


def test_a_text_that_typst_does_not_take_is_told_in_one_line(made, tmp_path, capsys):
    shutil.copytree(TEXT, tmp_path / "text")
    with (tmp_path / "text/paper.typ").open("a") as file:
        file.write('#s("nothing of this name")\n')
    words = ["paper", "--text", tmp_path / "text", "--numbers", made / "numbers", "--out", tmp_path / "paper.pdf"]
    assert "nothing of this name" in refused(capsys, *words)
    assert not (tmp_path / "paper.pdf").exists()
