"""No number of the paper is typed by hand: not in its text, and not in the words of its sentences."""

import ast
import re
from pathlib import Path

import pytest

from selfdraft import paper
from selfdraft.paper.sentences import SENTENCES
from selfdraft.paper.setup import SETUP
from selfdraft.study.drawing import PAPER_FIGURES

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "paper/paper.typ").read_text(encoding="utf-8")
# Definitions. Years of references stand in their keys and in references.bib.
ALLOWED = ("$min(1, p(x) \\/ q(x))$", "((n + 1) t_")
SOURCES = [
    path
    for path in Path(paper.__file__).parent.glob("*.py")
    if path.stem not in ("cells", "latex", "typeset", "written")
]


def typed(text):
    """The digits of a Typst text that no rule made: outside comments, references, and names of sentences and files."""
    for allowed in ALLOWED:
        text = text.replace(allowed, "")
    text = re.sub(r"//.*", "", text)
    text = re.sub(r"@\w+", "", text)
    text = re.sub(r"#counter\(heading\).update\(0\)", "", text)
    text = re.sub(r'"[\w .-]*"', "", text)  # names in calls: "exits", "style.typ"
    return re.findall(r"\S*\d\S*", text)


def test_the_text_has_no_digit_of_its_own():
    assert typed(TEXT) == []


@pytest.mark.parametrize(
    "line",
    ["The speedup is 1.16.", "over 24 prompts @chen2023", '#s("exits") and 3 more', "[Twice, 2 times]", "$n + 2$"],
)
def test_a_number_that_is_typed_is_found(line):
    assert typed(f"{TEXT}\n{line}\n") != []


def words(path):
    """The texts of a module, docstrings and formats left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    passed = {id(node.format_spec) for node in ast.walk(tree) if isinstance(node, ast.FormattedValue)}
    left_out = {id(part) for node in ast.walk(tree) if id(node) in passed for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            left_out.add(id(node.value))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in left_out:
            yield node.value


# columns and names: of tables, of kinds, of number formats
NAMES = re.compile(r"top-?[15]|eagle3|kl_at_1(_\w+)?|top2_\w+|float32|0123456789|sha256|ms|%")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_sentences_and_tables_have_no_digit_of_their_own(path):
    found = [NAMES.sub("", text) for text in words(path)]
    assert [text for text in found if re.search(r"\d", text)] == []


def test_the_text_uses_every_sentence_table_and_figure_and_no_other():
    assert set(re.findall(r'#s\("(\w+)"', TEXT)) == set(SENTENCES) | set(SETUP)
    drawn = re.findall(r'#drawn\(\s*"(\w+)"', TEXT) + re.findall(r'^  \("(\w+)", \[', TEXT, re.MULTILINE)
    assert sorted(drawn) == sorted(PAPER_FIGURES)
