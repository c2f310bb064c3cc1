"""Which files of this package a stage runs: the closure of its imports, read from the source with `ast`.

Rules have the digests of these files as an input, so that a change of code reruns the stages that use it.
"""

import ast
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from selfdraft.errors import StudyError
from selfdraft.files import sha256_of, whole_file

ROOT = Path(__file__).resolve().parents[1]
# A package whose modules are found by their names in a list: who imports the first loads all of the second.
BY_NAME = {"selfdraft.models.exit": "selfdraft.capacities", "selfdraft.commands.drafters": "selfdraft.drafters"}
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


def statements(tree: ast.Module) -> Iterator[ast.AST]:
    """All statements of a module, inner ones too, but no expressions: ten times as fast as `ast.walk`."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            waiting.extend(getattr(node, part, ()))


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
        for node in statements(ast.parse(path.read_bytes(), filename=str(path))):
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
    return _stamp("-".join(stages), files_of(*stages))


def path_of_file(name: str) -> str:
    """A file of this package that is no module, as a path relative to the working directory."""
    return os.path.relpath(ROOT / name)


def code_of_figure(name: str, others: list[str]) -> str:
    """The input that stands for `files_of_figure` in a rule."""
    return _stamp(f"figure-{name}", files_of_figure(name, others))


def _paths(modules: set[str]) -> list[str]:
    """Relative paths, so that a moved checkout does not look like changed inputs."""
    return sorted(os.path.relpath(str(path_of(module))) for module in modules)


def _stamp(name: str, files: list[str]) -> str:
    """Write the files' digests to one small file below .snakemake, unless they stand there; return its path.

    One input where there were fifty: thousands of jobs are planned in seconds. Snakemake compares it by its
    content, so that files that were only touched, or checked out again, run nothing again.
    """
    path = STAMPS / f"{name}.txt"
    text = "".join(map(_line, files))
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
