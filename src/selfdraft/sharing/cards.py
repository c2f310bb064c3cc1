"""The model card of a shared draft: README.md, filled from its config.json, its target, its data and its results."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import yaml

from selfdraft.models.compact import KEY
from selfdraft.sharing.measured import TOLD, Row, estimate

MEASURED = {  # columns of results.csv, and what the card calls them
    "accepted_mean": "accepted of gamma",
    "speedup": "speedup",
    "kl": "KL, nats/token",
    "top1": "top-1",
}
ABOUT = {
    "eagle3": "an EAGLE-3 drafter: one decoder layer over states of the target, with a head of few tokens",
    "dvi": "an early exit that learnt from its own verifications while it served a stream of prompts",
    "early_exit": "an early exit of the target, trained on the target's own predictions",
}
TRAINING = ("seed", "objective", "T", "training_tokens", "trained_parameters", "trained_bytes", "commit", "config_hash")


@dataclass(frozen=True)
class Facts:
    """All that a card is filled from.

    `config` is the draft's config.json, `source` the target's source.json, `data` sources.json of the training data,
    `online` results.json of an exit that learnt while it served; `rows` those of results.csv, timed on `machine`.
    """

    config: Mapping[str, Any]
    source: Mapping[str, Any]
    data: Mapping[str, Any] = field(default_factory=dict)
    online: Mapping[str, Any] = field(default_factory=dict)
    rows: Sequence[Row] = ()
    machine: str = ""
    licence: str = ""
    repo: str = ""

    @property
    def kind(self) -> str:
        return str(self.config.get("kind") or self.config.get("drafter"))

    @property
    def target(self) -> str:
        return str(self.source.get("name") or self.source.get("repo") or "the target")


def card(facts: Facts) -> str:
    """The text of README.md, with the front matter that hubs read. What is not known is said not to be known."""
    sections = {
        "The target": _target(facts),
        "How to load it": _loading(facts),
        "What was measured": _measured(facts),
        "How it was trained": _trained(facts),
        "Licence": _licence(facts),
    }
    about = ABOUT.get(facts.kind, f"a draft of kind {facts.kind}")
    parts = [
        f"---\n{yaml.safe_dump(_front(facts), sort_keys=False, allow_unicode=True)}---",
        f"# A draft for {_line(facts.target)}",
        f"This is {about}. It proposes tokens, which the target verifies: the text is distributed as the target's own, "
        "however good or bad the draft is. It writes nothing without its target.",
    ]
    for title, lines in sections.items():
        parts += [f"## {title}", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _front(facts: Facts) -> dict[str, Any]:
    front: dict[str, Any] = {"library_name": "selfdraft"}
    if facts.licence:
        front["license"] = facts.licence
    if facts.source.get("kind") == "hub" and facts.source.get("repo"):
        front["base_model"] = facts.source["repo"]
    return front | {"tags": ["speculative-decoding", "draft-model", facts.kind.replace("_", "-")]}


def _target(facts: Facts) -> Iterator[str]:
    source, sizes = facts.source, facts.config["target"]
    yield (
        f"{_line(facts.target)}: {sizes['model_type']}, {sizes['n_layers']} layers, hidden size "
        f"{sizes['hidden_size']}, vocabulary {sizes['vocab_size']}. A draft is loaded for these very weights alone, "
        f"fingerprint `{sizes['fingerprint']}`."
    )
    if origin := _origin(source):
        yield f"They came from {origin}."
    if source.get("quantisation"):
        yield f"They are {_line(source['quantisation'])}."


def _origin(source: Mapping[str, Any]) -> str:
    """Where a model or data came from, without the paths of the machine that read it."""
    sums = source.get("sha256")
    listed = sums.items() if isinstance(sums, Mapping) else ()
    files = ", ".join(f"`{name}` sha256 `{digest}`" for name, digest in listed)
    where = {
        "hub": f"the hub repository {source.get('repo')} at commit `{source.get('revision')}`",
        "package": f"the Python package {source.get('package')} {source.get('version')}, `{source.get('member')}`",
        "path": f"a folder or file called `{PurePath(str(source.get('path'))).name}`",
    }.get(str(source.get("kind")), "")
    return _line(f"{where} ({files})" if where and files else where)


def _loading(facts: Facts) -> Iterator[str]:
    place = f"hub:{facts.repo}@REVISION" if facts.repo else "FOLDER"
    yield "With the Python package `selfdraft`, and the target made by its `selfdraft target`:"
    yield ""
    yield f"    selfdraft generate --target results/target/{_line(facts.target)} --checkpoint {place} --prompt 'Why?'"
    yield ""
    if facts.repo:
        yield "REVISION is a commit of this repository. A branch or tag is taken too, and its commit is told."
    else:
        yield "FOLDER is the one that holds this file; of a hub, `hub:OWNER/NAME@COMMIT`."
    yield "The sha256 of each file stands in `sha256.json` and is checked; nothing of this draft is code or pickled."
    if KEY in facts.config:
        yield (
            f"\n**Its weights were rounded** ({facts.config[KEY]}): each row of a matrix is int8 with a scale of its "
            "own, norms are as they were. It is loaded as any other."
        )


def _measured(facts: Facts) -> Iterator[str]:
    if facts.rows:
        yield "Of a `results.csv`, with 95 % bootstrap intervals over prompts (KL and top-1: over conversations):"
        yield ""
        head = [*TOLD, *MEASURED.values(), "identical"]
        yield f"| {' | '.join(head)} |"
        yield "|" + "---|" * len(head)
        for row in facts.rows:
            cells = [row.get(name) or "–" for name in TOLD]
            cells += [estimate(row, name) for name in MEASURED]
            yield f"| {' | '.join(_line(cell).replace('|', '/') for cell in [*cells, row.get('identical') or '–'])} |"
        yield ""
        yield "`identical` is the share of prompts whose greedy text is the target's own, token by token, in float32."
        machine = f" ({_line(facts.machine)})" if facts.machine else ""
        yield f"Speeds are those of one machine{machine}; the other numbers are not."
        commits = sorted({row.get("commit", "") for row in facts.rows} - {""})
        if commits:
            yield f"The table was made by commit {', '.join(commits)}."
        if KEY in facts.config:
            yield "It does not say whether the weights were rounded when it was measured."
    if facts.online:
        evaluations = facts.online.get("evaluations") or []
        for when, found in zip(("Before", "After"), (evaluations[:1], evaluations[1:][-1:]), strict=True):
            for evaluation in found:
                text = {name: "" if value is None else str(value) for name, value in evaluation.items()}
                yield (
                    f"{when} it learnt, {estimate(text, 'accepted_mean')} of its drafted tokens a cycle were accepted "
                    "on prompts held out."
                )
    if not facts.rows and not facts.online:
        yield "Nothing was told to this card; `selfdraft evaluate` or a study measures it."


def _trained(facts: Facts) -> Iterator[str]:
    config = facts.config
    if "layer" in config:
        yield f"- exit after layer {config['layer']} (counted from 0), capacity {config['capacity']}"
    if "features" in config:
        yield (
            f"- states of the target at depths {', '.join(map(str, config['features']))}; "
            f"{config.get('draft_vocab_size')} tokens in its vocabulary"
        )
    told = {name: config[name] for name in TRAINING if config.get(name) not in (None, "")}
    yield from (f"- {name}: {_line(value)}" for name, value in told.items())
    if config.get("imported"):
        yield f"- imported from another program's files: `{_line(config['imported'].get('from'))}`"
    name = facts.data.get("name") or config.get("dataset") or "not stated"
    parts = facts.data.get("parts") or ({"": facts.data} if facts.data else {})
    origins = [_origin(part.get("source") or {}) for part in parts.values()]
    yield f"- data: {_line(name)}" + "".join(f"; {origin}" for origin in origins if origin)
    yield "- all settings: `config.json`"


def _licence(facts: Facts) -> Iterator[str]:
    yield f"{_line(facts.licence)}." if facts.licence else "Not stated by whoever wrote this card."
    if facts.source.get("license"):
        yield f"The target's is {_line(facts.source['license'])}: a draft is made from its weights."
    else:
        yield "The target's own licence, not known here, is to be kept too: a draft is made from its weights."


def _line(value: object) -> str:
    """On one line."""
    return " ".join(str(value).split())
