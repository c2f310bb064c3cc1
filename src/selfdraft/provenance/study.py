"""results/provenance.json: what made a study's results, in one file.

Its keys:

- `selfdraft`: version of this package; `commit` and `dirty`: of the checkout that wrote the file, when it
  wrote it. A table that was measured under an earlier commit is kept by the workflow only if no module
  that makes it has changed since.
- `config_hash`: as in results.csv; `config_hashes`: of each section that it counts, alone; `seeds`: every
  seed, by its key; `config`: all settings, the looks of figures left out.
- `python`, `platform`, `packages`: of the environment that wrote the file, which is that of all rules.
- `machine`: machine.json, of the machine whose speed was measured: CPU, GPU and driver (null without), rates.
  On a cluster other jobs may have run elsewhere; a checkpoint's config.json names its own machine.
- `durations`: for each rule the number of `jobs`, their `seconds` together, `longest_s`, `max_rss_mb`;
  `durations_note`: what that does not count.
- `checkpoints`: commit, config hash and sha256 of the draft's config.json, by the draft's name.
- `tables`: sha256 of every table beside the file and under raw/, by path.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from selfdraft import __version__
from selfdraft.errors import StudyError
from selfdraft.files import read_json, sha256_of
from selfdraft.provenance import DIRTY, is_dirty
from selfdraft.provenance.config_hash import UNCOUNTED, Config, config_hash, recorded
from selfdraft.provenance.durations import NOTE, durations
from selfdraft.provenance.surroundings import machine, packages

NAMES = ("provenance.json", "provenance_of_benchmarks.json")  # the second: of the tables beside results.csv


def study_provenance(
    folder: Path,
    config: Config,
    commit: str,
    machine_file: Path | None,
    checkpoints: Iterable[Path],
    benchmarks: Path | None,
    patterns: Mapping[str, str],
) -> dict[str, Any]:
    """The contents of provenance.json for the results in `folder`.

    Args: checkpoints: config.json of each draft; patterns: of the `benchmarks`, see `durations`.
    """
    here = machine()
    return {
        "selfdraft": __version__,
        "commit": commit.removesuffix(DIRTY),
        "dirty": is_dirty(commit),
        "config_hash": config_hash(config),
        "config_hashes": {section: config_hash(config, section) for section in config if section not in UNCOUNTED},
        "seeds": dict(seeds(config)),
        "python": here["python"],
        "platform": here["platform"],
        "packages": packages(),
        "machine": None if machine_file is None else object_in(machine_file),
        "durations": {} if benchmarks is None else durations(benchmarks, patterns),
        "durations_note": NOTE,
        "checkpoints": {path.parent.name: checkpoint(path) for path in checkpoints},
        "tables": {path.relative_to(folder).as_posix(): sha256_of(path) for path in tables(folder)},
        "config": recorded(config),
    }


def seeds(config: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Every key `seed` of the config and its value: ("training.seed", 0), …"""
    for key, value in config.items() if isinstance(config, dict) else ():
        name = f"{above}{key}"
        if key == "seed":
            yield name, value
        yield from seeds(value, f"{name}.")


def checkpoint(path: Path) -> dict[str, Any]:
    """What provenance.json keeps of a draft's config.json."""
    config = object_in(path)
    return {"commit": config.get("commit"), "config_hash": config.get("config_hash"), "config_sha256": sha256_of(path)}


def tables(folder: Path) -> list[Path]:
    """The CSV tables in a results folder and under its raw/, sorted; not those that are just being written."""
    found = [*folder.glob("*.csv"), *(folder / "raw").rglob("*.csv")]
    return sorted(path for path in found if not path.name.startswith("."))


def object_in(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises StudyError if it holds something else."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise StudyError(f"{path}: holds no JSON object")
    return value
