"""The appendix: every setting of the study, and what it was run with."""

from collections.abc import Iterator, Mapping
from typing import Any

from selfdraft.paper.cells import number
from selfdraft.paper.measured import Measured
from selfdraft.paper.tables import Table


def appendix(study: Measured) -> dict[str, Table]:
    """Its tables by name; without rows where the study has no provenance.json."""
    return {"settings": settings(study), "environment": environment(study)}


def settings(study: Measured) -> Table:
    """Every setting of the study's config; a row each, or one for all of a policy, a sweep, a source and the like."""
    return Table(("setting", "value"), tuple(_settings(study.config)))


def _settings(found: Any, above: str = "") -> Iterator[tuple[str, str]]:
    """(key, value) of all that is not a mapping, and of mappings of plain values below a section."""
    for key, what in found.items() if isinstance(found, Mapping) else ():
        name = f"{above}{key}"
        if not isinstance(what, Mapping) or not what:
            yield name, _written(what)
        elif above and not any(isinstance(inner, Mapping) for inner in what.values()):
            yield name, "; ".join(f"{inner} {_written(value)}" for inner, value in what.items())
        else:
            yield from _settings(what, f"{name}.")


def _written(what: Any) -> str:
    """A value as the config writes it."""
    if isinstance(what, list | tuple):
        return ", ".join(map(_written, what))
    if isinstance(what, Mapping):
        return "{}"
    return str(what).lower() if what is None or isinstance(what, bool) else str(what)


MACHINE = {
    "cpu": "processor",
    "cores": "cores",
    "threads": "threads",
    "gpu": "GPU",
    "driver": "driver",
    "platform": "system",
    "read_bandwidth_gb_s": "read bandwidth, GB/s",
}


def environment(study: Measured) -> Table:
    """Where and with what the numbers were made: machine, Python, packages, commit, hash of the config."""
    said = study.surroundings
    machine = said.get("machine") or {}
    rows = [("commit", ", ".join(study.read.get("commits", [])))]
    rows.append(("hash of the config", ", ".join(study.read.get("config_hashes", []))))
    rows += [
        (name, number(machine[key], 1) if isinstance(machine[key], float) else str(machine[key]))
        for key, name in MACHINE.items()
        if machine.get(key) is not None
    ]
    rows += [("Python", str(said["python"]))] if "python" in said else []
    rows += [(name, str(version)) for name, version in said.get("packages", {}).items()]
    return Table(("what", "found"), tuple(row for row in rows if row[1]))
