"""Which files of this package a stage runs: the closure of its imports, read from the source with `ast`.

Rules declare these files as inputs, so that a change of code reruns the stages that use it.
"""

import ast
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent


def path_of(module: str) -> Path | None:
    """The file of a module of this package, or None if `module` is a name inside one, or elsewhere."""
    first, *rest = module.split(".")
    if first != ROOT.name:
        return None
    folder = ROOT.joinpath(*rest)
    candidates = (folder.with_suffix(".py") if rest else folder, folder / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


@cache
def imported_by(module: str) -> tuple[str, ...]:
    """The package's modules that one module's source imports, anywhere in it, and its packages."""
    path = path_of(module)
    assert path is not None, module
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]

    def names() -> Iterator[str]:
        yield from (module.rsplit(".", n)[0] for n in range(1, module.count(".") + 1))
        for node in ast.walk(ast.parse(path.read_bytes(), filename=str(path))):
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


def code_of(*stages: str) -> list[str]:
    """The files that the stages run, sorted, as paths relative to the working directory."""
    return _paths(closure(*(f"selfdraft.commands.{stage}" for stage in stages)))


def code_of_figure(name: str, others: list[str]) -> list[str]:
    """The files that draw one figure: not the modules of the `others`, unless it imports them itself."""
    elsewhere = frozenset(f"selfdraft.figures.{other}" for other in others if other != name)
    return _paths(closure("selfdraft.commands.figure", without=elsewhere) | closure(f"selfdraft.figures.{name}"))


def _paths(modules: set[str]) -> list[str]:
    """Relative paths, so that a moved checkout does not look like changed inputs."""
    return sorted(os.path.relpath(str(path_of(module))) for module in modules)
