"""Every command of README and docs is one that its program reads as it is meant: options exist, targets are targets."""

import re
import shlex
from pathlib import Path

import pytest

from selfdraft.cli import parser_of

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = ("selfdraft", "snakemake", "make")


def commands(page):
    """The commands of a page's indented or fenced lines; lines that end in a backslash are joined."""
    text = re.sub(r"\\\n\s*", " ", page.read_text(encoding="utf-8"))
    fenced, found, language = False, [], ""
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            fenced, language = not fenced, line.strip("` \n")
            continue
        if (fenced and language in ("", "bash", "sh")) or (not fenced and line.startswith("    ")):
            found.append(line.strip().removeprefix("$ "))
    return [line for line in found if re.match(r"(?:[A-Z_]+=\S+ )*(?:\S*/)?(?:selfdraft|snakemake|make)\b", line)]


ALL = [(page.name, line) for page in PAGES for line in commands(page)]


def words_of(line):
    words = [word for word in shlex.split(line, comments=True) if word != "…"]
    while re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    for mark in ("|", ">", "&&", ";"):
        words = words[: words.index(mark)] if mark in words else words
    return Path(words[0]).name, words[1:]


def test_commands_are_found():
    assert len(ALL) > 20
    assert {words_of(line)[0] for _, line in ALL} == set(PROGRAMS)


@pytest.mark.parametrize("line", [line for _, line in ALL if words_of(line)[0] == "selfdraft"])
def test_selfdraft_reads_its_commands(line):
    _, words = words_of(line)
    if "train …" in line:  # an option to add to a command that stands above
        words += ["--target", "T", "--data", "D", "--out-dir", "O"]
    parser_of(words[0]).parse_args(words)


@pytest.mark.parametrize("line", [line for _, line in ALL if words_of(line)[0] == "snakemake"])
def test_snakemake_takes_targets_for_targets(line):
    from snakemake.cli import get_argument_parser

    _, words = words_of(line)
    args = get_argument_parser().parse_args(words)
    assert not [name for name in args.configfile or [] if not str(name).endswith((".yaml", ".yml"))], line
    files = [ROOT / "Snakefile", *(ROOT / "workflow/rules").glob("*.smk")]
    rules = {rule for path in files for rule in re.findall(r"^rule (\w+):", path.read_text(), re.MULTILINE)}
    assert not [target for target in args.targets if "/" not in target and target not in rules], line


@pytest.mark.parametrize("line", [line for _, line in ALL if words_of(line)[0] == "make"])
def test_make_knows_the_target(line):
    _, words = words_of(line)
    known = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {word for word in words if "=" not in word and not word.startswith("-")} <= known
