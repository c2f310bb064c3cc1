"""A figure's files name its tables, their commit and config hash; the same tables give the same bytes anywhere."""

import json
import os
import shutil
import subprocess
import sys
from hashlib import sha256

import numpy as np
import pandas as pd
import pytest
from drawing import OPTION, arguments, sweep_of, tables_of
from matplotlib.image import imread
from PIL import Image

from selfdraft import __version__
from selfdraft.cli import main
from selfdraft.figures import FIGURES
from selfdraft.figures.style import COLUMN, FULL
from selfdraft.provenance.figure_metadata import figure_of

KINDS = ("pdf", "png")


def draw(name, study, out):
    assert main(arguments(name, study, out, json.dumps(sweep_of(name)))) == 0
    return {kind: out / f"{name}.{kind}" for kind in KINDS}


@pytest.fixture(scope="module", params=FIGURES)
def figure(request, study, tmp_path_factory):
    """A figure's name and its files, drawn once."""
    return request.param, draw(request.param, study, tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("figure", list(FIGURES)[::3], indirect=True)  # they are all saved by the same lines
def test_another_folder_and_another_day_give_the_same_bytes(figure, study, tmp_path, monkeypatch):
    name, first = figure
    shutil.copytree(study, tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    second = draw(name, tmp_path / "moved", tmp_path / "b")
    for kind in KINDS:
        assert first[kind].read_bytes() == second[kind].read_bytes()


def test_letters_stay_letters_and_the_width_is_that_of_a_column_or_a_page(figure):
    _, files = figure
    assert b"/Type3" not in files["pdf"].read_bytes()
    width = imread(files["png"]).shape[1] / 300
    assert width == pytest.approx(COLUMN, abs=0.01) or width == pytest.approx(FULL, abs=0.01)


def test_pdf_and_png_name_every_table_that_was_read(figure, study):
    name, files = figure
    folder = tables_of(name, study)
    told = figure_of(files["pdf"])
    assert told == figure_of(files["png"])
    assert told["figure"] == name
    assert told["creator"] == f"selfdraft {__version__}"
    tables = {path.name: path for path in folder.glob("*.csv")}
    tables |= {f"{path.parent.name}/{path.name}": path for path in folder.glob("*/*/*.jsonl")}
    assert told["tables"]
    for table, digest in told["tables"].items():
        assert digest == sha256(tables[table].read_bytes()).hexdigest()
    if name not in OPTION:
        assert (told["commits"], told["config_hashes"]) == (["abc"], ["123"])
        assert list(told["tables"]) == ["results.csv"]


def test_training_curves_name_the_logs_of_the_sweep_alone(study, tmp_path):
    drawn = draw("training_curves", study, tmp_path)
    layers = sweep_of("training_curves")["layer"]
    told = figure_of(drawn["pdf"])["tables"]
    assert told
    assert len(told) < len(list(study.glob("checkpoints/*/train_log.jsonl")))
    assert all(name.startswith(tuple(f"layer{layer}_" for layer in layers)) for name in told)


def test_readers_of_documents_see_it_too(study, tmp_path):
    drawn = draw("acceptance_sweep", study, tmp_path)
    with Image.open(drawn["png"]) as image:
        said = image.text
    assert said["Title"] == "acceptance sweep"
    assert said["Creator"] == f"selfdraft {__version__}"
    assert said["Subject"] == "commit abc; config 123"
    assert b"/Subject (commit abc; config 123)" in drawn["pdf"].read_bytes()
    assert b"CreationDate" not in drawn["pdf"].read_bytes()


def test_another_commit_is_told_and_nothing_else_changes(study, tmp_path):
    (tmp_path / "later").mkdir()
    table = pd.read_csv(study / "results.csv", dtype=str, keep_default_na=False)
    table.assign(commit="deadbeef0000-dirty").to_csv(tmp_path / "later/results.csv", index=False)
    first, second = draw("pareto", study, tmp_path / "a"), draw("pareto", tmp_path / "later", tmp_path / "b")
    for kind in KINDS:
        before, after = figure_of(first[kind]), figure_of(second[kind])
        assert after["commits"] == ["deadbeef0000-dirty"]
        assert after["config_hashes"] == before["config_hashes"]
        assert after["tables"]["results.csv"] != before["tables"]["results.csv"]
    assert np.array_equal(imread(first["png"]), imread(second["png"]))


def test_a_table_with_any_name_and_commit_is_told_exactly(study, tmp_path):
    odd = tmp_path / "ergebnisse; a=b (1)%.csv"
    table = pd.read_csv(study / "results.csv", dtype=str, keep_default_na=False)
    table.assign(commit=["a; b=c" if row % 2 else "ü" for row in range(len(table))]).to_csv(odd, index=False)
    words = ["figure", "pareto", "--results", str(odd), "--sweep", json.dumps(sweep_of("pareto"))]
    assert main([*words, "--out-dir", str(tmp_path)]) == 0
    for kind in KINDS:
        told = figure_of(tmp_path / f"pareto.{kind}")
        assert told["commits"] == ["a; b=c", "ü"]
        assert list(told["tables"]) == [odd.name]


def test_a_changed_checkout_and_the_clock_do_not_show(study, tmp_path):
    bytes_of = []
    for folder, surroundings in (("a", {}), ("b", {"SOURCE_DATE_EPOCH": "1", "TZ": "Asia/Tokyo", "LC_ALL": "C"})):
        place = tmp_path / folder
        place.mkdir()
        if surroundings:  # a checkout with a change
            for words in (["init"], ["commit", "--allow-empty", "-m", "x"]):
                identity = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
                subprocess.run(["git", *identity, *words], cwd=place, check=True, capture_output=True)
            (place / "new").write_text("1")
            subprocess.run(["git", "add", "new"], cwd=place, check=True)
        shutil.copy(study / "results.csv", place)
        words = ["figure", "gamma", "--results", "results.csv", "--sweep", json.dumps(sweep_of("gamma"))]
        subprocess.run(
            [sys.executable, "-m", "selfdraft", *words], cwd=place, env=os.environ | surroundings, check=True
        )
        bytes_of.append([(place / f"paper_figures/gamma.{kind}").read_bytes() for kind in KINDS])
    assert bytes_of[0] == bytes_of[1]
