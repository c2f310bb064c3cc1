"""Which files of this package a stage runs: the closure of its imports, read from the source.

Rules have the digests of these files as an input, so that a change of code reruns the stages that use it.
"""

import ast
import os
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from selfdraft.errors import StudyError
from selfdraft.files import sha256_of, whole_file

ROOT = Path(__file__).resolve().parents[1]
# A package whose modules are found by their names in a list: who imports the first loads all of the second.
BY_NAME = {"selfdraft.models.exit": "selfdraft.capacities", "selfdraft.commands.drafters": "selfdraft.drafters"}
IMPORT = re.compile(
    r"^[ \t]*(from[ \t]+[.\w]+[ \t]+import[ \t]*(?:\([^)]*\)|[^\n(]+)|import[ \t]+[^\n]+)", re.MULTILINE
)
STAMPS = Path(".snakemake/code")


@cache
def path_of(module: str) -> Path | None:
    """The file of a module of this package, or None if `module` is a name inside one, or elsewhere."""
    first, *rest = module.split(".")
    if first != ROOT.name:
        return None
    folder = ROOT.joinpath(*rest)
    candidates = (folder.with_suffix(".py") if rest else folder, folder / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


def imports(source: str) -> list[ast.AST]:
    """The imports of a source, inner ones too, and now and then some other statement.

    Only lines that begin like an import are parsed, which takes a tenth of the time; the whole source where one of
    them is something else (a sentence of a text). An import behind a colon or a semicolon would be missed: the
    project's style has none, and tests/study/test_code_digests.py looks.
    """
    try:
        return [node for found in IMPORT.finditer(source) for node in ast.parse(found[1]).body]
    except SyntaxError:
        return list(ast.walk(ast.parse(source)))


@cache
def imported_by(module: str) -> tuple[str, ...]:
    """The package's modules that one module's source imports, anywhere in it, and its packages."""
    path = path_of(module)
    assert path is not None, module
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]

    def names() -> Iterator[str]:
        if module in BY_NAME:
            folder = ROOT.joinpath(*BY_NAME[module].split(".")[1:])
            yield from (f"{BY_NAME[module]}.{file.stem}" for file in folder.glob("*.py"))
        yield from (module.rsplit(".", n)[0] for n in range(1, module.count(".") + 1))
        for node in imports(path.read_text(encoding="utf-8")):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                above = package.rsplit(".", node.level - 1)[0] if node.level else ""
                base = ".".join(part for part in (above, node.module) if part)
                yield from (base, *(f"{base}.{alias.name}" for alias in node.names))

    return tuple(sorted({name for name in names() if path_of(name)}))


def closure(*modules: str, without: frozenset[str] = frozenset()) -> set[str]:
    """The modules and all that they import, directly or not; the search does not enter `without`."""
    found: set[str] = set()
    waiting = [module for module in modules if path_of(module)]
    while waiting:
        module = waiting.pop()
        if module not in found and module not in without:
            found.add(module)
            waiting.extend(imported_by(module))
    return found


def files_of(*stages: str) -> list[str]:
    """The files that the stages run, sorted, as paths relative to the working directory."""
    return _paths(closure(*(f"selfdraft.commands.{stage}" for stage in stages)))


def files_of_figure(name: str, others: list[str]) -> list[str]:
    """The files that draw one figure: not the modules of the `others`, unless it imports them itself."""
    elsewhere = frozenset(f"selfdraft.figures.{other}" for other in others if other != name)
    return _paths(closure("selfdraft.commands.figure", without=elsewhere) | closure(f"selfdraft.figures.{name}"))


def code_of(*stages: str) -> str:
    """The input that stands for `files_of` the stages in a rule: a file with their digests."""
    return _stamp("-".join(stages), lambda: files_of(*stages))


def path_of_file(name: str) -> str:
    """A file of this package that is no module, as a path relative to the working directory."""
    return os.path.relpath(ROOT / name)


def code_of_figure(name: str, others: list[str]) -> str:
    """The input that stands for `files_of_figure` in a rule."""
    return _stamp(f"figure-{name}", lambda: files_of_figure(name, others))


def _paths(modules: set[str]) -> list[str]:
    """Relative paths, so that a moved checkout does not look like changed inputs."""
    return sorted(os.path.relpath(str(path_of(module))) for module in modules)


def take_as_they_stand() -> None:
    """Read no source where a stamp is there already: in the plan of a job, whose run has just written them all."""
    global _as_they_stand
    _as_they_stand = True


_as_they_stand = False


def _stamp(name: str, files: Callable[[], list[str]]) -> str:
    """Write the files' digests to one small file below .snakemake, unless they stand there; return its path.

    One input where there were fifty: thousands of jobs are planned in seconds. Snakemake compares it by its
    content, so that files that were only touched, or checked out again, run nothing again.
    """
    path = STAMPS / f"{name}.txt"
    if _as_they_stand and path.is_file():
        return str(path)
    text = "".join(map(_line, files()))
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        try:
            with whole_file(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
        except OSError as error:
            raise StudyError(f"{error.filename}: {error.strerror}; the study must be able to write there") from None
    return str(path)


@cache
def _line(file: str) -> str:
    """What a stamp says of a file; most files stand in most stamps."""
    return f"{sha256_of(file)}  {Path(file).resolve().relative_to(ROOT.parent)}\n"
