"""From a file or folder of a study to what made it: its own words, and the study's provenance.json."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from selfdraft.errors import StudyError
from selfdraft.files import sha256_of
from selfdraft.provenance import DIRTY, is_dirty
from selfdraft.provenance.checkout import compare
from selfdraft.provenance.durations import job
from selfdraft.provenance.figure_metadata import figure_of
from selfdraft.provenance.study import NAMES, object_in
from selfdraft.provenance.tables import told_by

Facts = dict[str, Any]

CHECKPOINT = ("drafter", "layer", "T", "capacity", "objective", "seed", "dataset", "trained_parameters")
SETTINGS = (*CHECKPOINT[:-1], "policy", "gamma", "drafting", "method", "implementation", "dtype", "device", "threads")
SOURCE = {"target": "source", "data": "sources"}
UP = 6  # folders above a file that are searched for its study


def describe(path: Path) -> Facts:
    """What is known of the file or folder: `file`, `kind`, what it says itself, and `study`.

    `commits` says of each commit how it stands to the checkout at hand, as `compare` does. Raises StudyError
    if the file is missing, damaged, or of a kind that tells nothing.
    """
    if not path.exists():
        raise StudyError(f"{path}: no such file or folder")
    reader = _reader(path)
    if reader is None:
        raise StudyError(
            f"{path}: tells nothing of its provenance; a figure, a table of results, a checkpoint, "
            "a target or data folder, or provenance.json does"
        )
    return {"file": str(path), **reader(path)}


def _reader(path: Path) -> Callable[[Path], Facts] | None:
    if path.is_dir():
        marks = {
            "draft.safetensors": _checkpoint,
            "source.json": _source,
            "sources.json": _source,
            **dict.fromkeys(NAMES, _results),
        }
        return next((reader for name, reader in marks.items() if (path / name).is_file()), None)
    if path.name in NAMES:
        return lambda file: {"kind": "provenance of results", **_of_study(file)}
    kind = path.suffix.lower()
    if kind in (".pdf", ".png"):
        return _figure
    if kind == ".csv":
        return _table
    if path.name == "machine.json":
        return lambda file: {"kind": "machine", "machine": object_in(file), **_place(file)}
    if kind in (".json", ".jsonl", ".safetensors", ".jinja"):  # a file of a checkpoint, target or data folder
        around = _reader(path.absolute().parent)
        return None if around is None or around is _results else lambda file: around(file.absolute().parent)
    return None


def _figure(path: Path) -> Facts:
    said = figure_of(path)
    facts: Facts = {
        "kind": f"figure {said['figure']}, drawn by {said['creator']}",
        "commits": _commits(said["commits"]),
    }
    facts["config_hash"] = said["config_hashes"]
    found = {name: _with_digest(path, name, digest) for name, digest in said["tables"].items()}
    facts["tables"] = {
        name: {"sha256": digest, "found": _shown(found[name])} for name, digest in said["tables"].items()
    }
    for study in _studies(path):
        recorded = _mapping(object_in(study), "tables")
        if set(said["tables"].values()) & set(recorded.values()):
            facts["study"] = _of_study(study)
            break
    folders = [table.parent for table in found.values() if table and (table.parent / "config.json").is_file()]
    return facts | ({"checkpoints": {folder.name: _own_words(folder) for folder in folders}} if folders else {})


def _with_digest(figure: Path, name: str, digest: str) -> Path | None:
    """The table of that name in the study beside the figure, if its bytes are those that were drawn."""
    for above in _above(figure):
        for candidate in (above / "results" / name, above / "results/checkpoints" / name, above / name):
            if candidate.is_file() and sha256_of(candidate) == digest:
                return candidate
    return None


def _table(path: Path) -> Facts:
    said = told_by(path, (*SETTINGS, "commit", "config_hash"))
    digest = sha256_of(path)
    facts: Facts = {"kind": "table", "sha256": digest, "commits": _commits(said.pop("commit", []))}
    facts["config_hash"] = said.pop("config_hash", [])
    facts["settings"] = {name: values for name, values in said.items() if values}
    place = _place(path, digest)
    if not (facts["commits"] or facts["config_hash"] or place):
        raise StudyError(f"{path}: tells nothing of its provenance: no commit or config_hash, and no study")
    return facts | place


def _checkpoint(path: Path) -> Facts:
    return {"kind": "checkpoint", **_own_words(path), **_place(path)}


def _own_words(folder: Path) -> Facts:
    """What a checkpoint's config.json says."""
    config = object_in(folder / "config.json")
    commit = str(config.get("commit") or "")
    made = _mapping(config, "provenance")
    facts: Facts = {"commits": _commits([commit]), "config_hash": [config.get("config_hash") or ""]}
    facts["dirty"] = made.get("dirty", is_dirty(commit))
    facts["settings"] = {name: config[name] for name in CHECKPOINT if name in config}
    facts |= {name: config[name] for name in ("target", "teacher", "text", "training", "processes") if name in config}
    facts["packages"] = made.get("packages") or {"torch": config.get("torch")}
    return facts | {"machine": {key: value for key, value in made.items() if key not in ("packages", "dirty")} or None}


def _source(path: Path) -> Facts:
    """A target's or data folder's own words: where it came from."""
    kind = "target" if (path / "source.json").is_file() else "data"
    return {"kind": kind, "source": object_in(path / f"{SOURCE[kind]}.json"), **_place(path)}


def _results(path: Path) -> Facts:
    return {"kind": "results", **_of_study(_studies(path)[0])}


def _place(path: Path, digest: str | None = None) -> Facts:
    """What the study that the file lies in says of it: `recorded` for a table, `duration`, `study`."""
    path = path.absolute()
    studies = [study for study in _studies(path) if study.parent in path.parents]
    if not studies:
        return {}
    results = studies[0].parent
    name = path.relative_to(results)
    facts: Facts = {}
    if digest is not None:
        listed = {study: (_mapping(object_in(study), "tables")).get(name.as_posix()) for study in studies}
        studies.sort(key=lambda study: listed[study] != digest)
        known = listed[studies[0]]
        facts["recorded"] = "not listed" if known is None else "these bytes" if known == digest else "other bytes"
    if took := job(results / "benchmarks" / _benchmark(name)):
        facts["duration"] = took
    return facts | {"study": _of_study(studies[0])}


def _benchmark(name: Path) -> Path:
    """The benchmark file, below benchmarks/, of the job that made a file or folder of the results."""
    first, *rest = name.parts
    if first == "checkpoints":
        return Path("train", f"{rest[0]}.tsv")
    return Path(*(rest if first == "raw" else name.parts)).with_suffix(".tsv")


def _of_study(file: Path) -> Facts:
    """A provenance.json less its long lists, of which the lengths are told."""
    said = object_in(file)
    if "commit" not in said or "packages" not in said:
        raise StudyError(f"{_shown(file)}: no commit or packages in it; `selfdraft record` writes such a file")
    commit = f"{said['commit']}{DIRTY if said.get('dirty') else ''}"
    long = ("config", "tables", "checkpoints")
    counts = {name: f"{len(_mapping(said, name))} listed" for name in long[1:]}
    short = {key: value for key, value in said.items() if key not in (*long, "commit", "durations_note")}
    machine = said.get("machine")
    if isinstance(machine, dict) and machine.get("packages") == said["packages"]:
        short["machine"] = {key: value for key, value in machine.items() if key != "packages"}
    return {"provenance": _shown(file.absolute()), "commits": _commits([commit]), **short, **counts}


def _mapping(said: Facts, key: str) -> Facts:
    """The object under a key; an empty one where something else stands there."""
    value = said.get(key)
    return value if isinstance(value, dict) else {}


def _commits(names: Iterable[str]) -> dict[str, Facts]:
    return {name: compare(name) for name in names if name}


def _shown(path: Path | None) -> str | None:
    """A path as a person reads it: relative where it lies below the working directory."""
    here = Path.cwd()
    return None if path is None else str(path.relative_to(here) if here in path.parents else path)


def _above(path: Path) -> list[Path]:
    return list(path.absolute().parents)[:UP]


def _studies(path: Path) -> list[Path]:
    """The provenance files of the nearest study: in the folder, one above it, or in results/ there."""
    for above in (path.absolute(), *_above(path)):
        for folder in (above, above / "results"):
            if found := [folder / name for name in NAMES if (folder / name).is_file()]:
                return found
    return []
