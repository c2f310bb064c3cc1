"""The files that a stage runs are found from its imports."""

import ast
import re
from pathlib import Path

import pytest

from selfdraft.cli import STAGES
from selfdraft.study import code_digests
from selfdraft.study.drawing import FIGURES

FOUR = ["pareto", "gamma", "capacity", "histograms"]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package `toy` to search instead of this one."""

    def write(**sources):
        for name, text in sources.items():
            path = tmp_path / "toy" / Path(*name.split("__")).with_suffix(".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            (path.parent / "__init__.py").touch()
            path.write_text(text)

    def forget():
        code_digests.path_of.cache_clear()
        code_digests.imported_by.cache_clear()

    monkeypatch.setattr(code_digests, "ROOT", tmp_path / "toy")
    forget()
    yield write
    forget()


@pytest.mark.parametrize(
    "line",
    [
        "import toy.b",
        "import toy.b as c",
        "from toy import b",
        "from toy.b import name",
        "from . import b",
        "from .b import name",
        "def f():\n    from toy.b import name",
        "if x:\n    import toy.b",
        "from toy import (  # why\n    a,\n    b,\n)",
        "from toy import (  # why (here)\n    a,\n    b,\n)",
        "import os, toy.b  # why",
    ],
)
def test_every_form_of_import_is_seen(package, line):
    package(a=line, b="name = 1")
    assert code_digests.closure("toy.a") == {"toy", "toy.a", "toy.b"}


def test_no_import_of_the_package_is_missed():
    for path in code_digests.ROOT.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        found = {ast.unparse(node) for node in code_digests.imports(text)}
        nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
        assert {ast.unparse(node) for node in nodes} <= found, path


def test_imports_of_imports_and_packages_on_the_way_are_found_and_circles_end(package):
    package(a="import toy.deep.b", deep__b="import toy.c", c="import toy.a, os, torch")
    assert code_digests.closure("toy.a") == {"toy", "toy.a", "toy.deep", "toy.deep.b", "toy.c"}


def test_a_search_does_not_enter_what_is_left_out(package):
    package(a="import toy.b, toy.c", b="import toy.d", c="", d="")
    assert code_digests.closure("toy.a", without=frozenset({"toy.b"})) == {"toy", "toy.a", "toy.c"}


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_code_and_all_of_it_exists(stage):
    module = stage.replace("-", "_")
    files = code_digests.files_of(module)
    assert any(file.endswith(f"commands/{module}.py") for file in files)
    assert all(Path(file).is_file() for file in files)


def test_stages_do_not_run_again_for_code_that_they_do_not_use():
    def uses(stage, part):
        return any(f"selfdraft/{part}" in file for file in code_digests.files_of(stage))

    assert uses("train", "training/")
    assert uses("train", "models/")
    assert not uses("train", "figures/")
    assert not uses("train", "statistics/")
    assert not uses("train", "study/")  # else a new figure would train every draft again
    assert not uses("results", "models/")
    assert not uses("results", "decoding/")
    assert not uses("target", "decoding/")


@pytest.mark.parametrize("name", FOUR)
def test_a_figure_depends_on_its_own_module_and_not_on_those_of_others(name):
    files = code_digests.files_of_figure(name, list(FIGURES))
    drawn = {Path(file).stem for file in files if "selfdraft/figures/" in file}
    assert name in drawn
    assert "style" in drawn
    assert not drawn & (set(FIGURES) - {name})


def test_the_input_that_stands_for_a_stages_code_changes_with_it_alone(package, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    package(a="A = 1\n", b="B = 1\n")
    monkeypatch.setattr(
        code_digests, "files_of", lambda stage: [str(code_digests.ROOT / "a.py"), str(code_digests.ROOT / "b.py")]
    )

    def written():
        code_digests._line.cache_clear()
        path = Path(code_digests.code_of("any"))
        return path.read_text(), path.stat().st_mtime_ns

    first = written()
    assert len(first[0].splitlines()) == 2
    (code_digests.ROOT / "a.py").write_text("A = 1\n")  # touched, not changed
    assert written() == first
    (code_digests.ROOT / "b.py").write_text("B = 2\n")
    second = written()[0].splitlines()
    assert second[0] == first[0].splitlines()[0]
    assert second[1] != first[0].splitlines()[1]


def test_a_job_takes_the_inputs_of_its_run_as_they_stand(package, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    package(a="A = 1\n")
    monkeypatch.setattr(code_digests, "files_of", lambda stage: [str(code_digests.ROOT / "a.py")])
    monkeypatch.setattr(code_digests, "_as_they_stand", False)  # put back after the test
    code_digests._line.cache_clear()
    before = Path(code_digests.code_of("one")).read_text()
    code_digests._line.cache_clear()
    (code_digests.ROOT / "a.py").write_text("A = 2\n")
    code_digests.take_as_they_stand()
    assert Path(code_digests.code_of("one")).read_text() == before
    (tmp_path / ".snakemake/code/one.txt").unlink()
    assert Path(code_digests.code_of("one")).read_text() != before


def test_no_stage_of_the_workflow_runs_code_of_the_study_package_and_the_workflow_uses_no_other():
    for stage in set(STAGES) - {"plan", "evaluate"}:  # they are no steps of a study
        used = code_digests.closure(f"selfdraft.commands.{stage}")
        assert not [name for name in used if name.startswith("selfdraft.study")], stage
    root = code_digests.ROOT.parents[1]
    for path in (root / "Snakefile", *(root / "workflow/rules").glob("*.smk")):
        used = re.findall(r"^\s*(?:from|import) (selfdraft[.\w]*)", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert all(name.startswith("selfdraft.study") for name in used), path
