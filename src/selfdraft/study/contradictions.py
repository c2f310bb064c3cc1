"""Mistakes of a config that only two of its settings together make, a line each."""

import math
from collections.abc import Iterable
from typing import Any

from selfdraft.drafters import kind_of
from selfdraft.settings.problems import shown, suggestion
from selfdraft.study import online
from selfdraft.study.drawing import FIGURES
from selfdraft.study.entries import drafters_in_use, trained_drafters
from selfdraft.study.options import splits_of
from selfdraft.study.sweeps import FIXED
from selfdraft.study.teaching import heads_online


def contradictions(config: dict[str, Any]) -> Iterable[str]:
    """Mistakes that only two settings together make, a line each."""
    policies, sweeps = list(config["policies"]), list(config["sweeps"])
    for name, sweep in config["sweeps"].items():
        for position, policy in enumerate(sweep["policy"]):
            if policy not in policies:
                hint = suggestion(policy, policies)
                yield f"sweeps.{name}.policy.{position}: {shown(policy)} is not a key of policies; {hint}"
        yield from _sweep_contradictions(name, sweep, list(config["drafters"]), [FIXED, *config["drafting"]])
    yield from _cost_contradictions(config)
    yield from _tree_contradictions(config)
    yield from _data_contradictions(config)
    yield from _drafter_contradictions(config)
    yield from _section_contradictions(config)
    yield from _domain_contradictions(config)
    for name, figure in config["figures"].items():
        if name not in FIGURES or name == "domains":
            if "sweep" in figure:
                what = "all that domains measures" if name == "domains" else "a table of its own"
                yield f"figures.{name}.sweep: this figure draws {what}, not a sweep; leave it out"
            continue
        sweep = figure.get("sweep", FIGURES[name])
        if sweep not in sweeps and "sweep" in figure:
            hint = suggestion(sweep, sweeps)
            yield f"figures.{name}.sweep: {shown(sweep)} is not a key of sweeps; {hint}"
    shortest, longest = config["data"]["prompt_length"]
    if shortest > longest:
        yield f"data.prompt_length: {shortest} > {longest}; the shortest comes first"
    timed, prompts = config["speed"]["prompts"], config["data"]["prompts"]
    if timed > prompts:
        yield f"speed.prompts: {timed} is more than data.prompts, {prompts}"
    yield from _objective_contradictions(config)
    if config.get("teacher", {}).get("name") in (config["target"]["name"], *config["drafters"]):
        yield f"teacher.name: {config['teacher']['name']} is the name of another model; choose another one"


def _objective_contradictions(config: dict[str, Any]) -> Iterable[str]:
    """Settings of training that do not go with an objective of a sweep."""
    training = config["training"]
    objectives = {training["objective"]: "training.objective"}
    for name, sweep in config["sweeps"].items():
        objectives |= {
            each: f"sweeps.{name}.objective"
            for each in sweep.get("objective", [])
            if each not in (*objectives, "none")  # which goes with everything
        }
    weight = training["ce_weight"]
    if ("kl_ce" in objectives) != (weight > 0):
        found = ", ".join(objectives)
        yield f"training.ce_weight: {weight} does not go with objective {found}; kl_ce wants > 0, the others 0"
    if "kl_ce" in objectives and training["loss_vocabulary"]:
        yield "training.loss_vocabulary: does not go with objective kl_ce, whose labels may be any token; 0 keeps all"
    if "reverse_kl" in objectives and training["teacher_top_k"]:
        where = objectives["reverse_kl"]
        beside = "" if where == "training.objective" else f" ({where})"
        yield (
            f"training.teacher_top_k: does not go with objective reverse_kl{beside}, "
            "infinite where the teacher has no mass"
        )


def _data_contradictions(config: dict[str, Any]) -> Iterable[str]:
    """Where the data come from, and whether what is asked of them can be had."""
    data = config["data"]
    if ("source" in data) == ("mixture" in data):
        what = "does not go with source" if "source" in data else "missing; it must be set"
        yield f"data.{'mixture' if 'source' in data else 'source'}: {what} (data have one source or a mixture)"
        return
    parts = {f"data.mixture.{name}": part for name, part in data.get("mixture", {}).items()} or {"data": data}
    for key in ("shape", "columns", "roles", "max_records"):
        if "mixture" in data and key in data:
            yield f"data.{key}: does not go with mixture; each of its parts has its own"
    training = "train" in data["splits"]
    for key in ("train_tokens", "validation_tokens", "held_out_tokens"):
        if training and key not in data:
            yield f"data.{key}: missing; it must be set"
        if not training and key != "held_out_tokens" and key in data:
            yield f"data.{key}: does not go with splits [held_out], data that nothing is trained on"
    for where, part in parts.items():
        if part.get("shape") == "prompts" and splits_of(data):
            yield f"{where}.shape: prompts have no answers to train on or to measure quality on; take another shape"
    for name, sweep in config["sweeps"].items():
        if not training and "drafter" not in sweep:
            yield f"sweeps.{name}: has trained drafts; data.splits [held_out] leaves nothing to train them on"
        for way in sweep["drafting"] if not training else ():
            if "vocabulary" in config["drafting"].get(way, {}):
                yield f"sweeps.{name}.drafting: {way} counts the tokens of the training split; data.splits has none"


def _drafter_contradictions(config: dict[str, Any]) -> Iterable[str]:
    """Hybrids of what is none of `drafters`, or has no model. Of what is trained: depths in disorder, nothing to train
    on, sequences shorter than what is unrolled."""
    data, drafters = config["data"], config["drafters"]
    for name, made in drafters.items():
        if made["kind"] != "hybrid":
            continue
        lookup = {"max_ngram": 4, "min_ngram": 2} | made.get("lookup", {})
        if lookup["min_ngram"] > lookup["max_ngram"]:
            yield (
                f"drafters.{name}.lookup.min_ngram: {lookup['min_ngram']} is more than max_ngram, {lookup['max_ngram']}"
            )
        other = drafters.get(made["drafter"])
        if other is None or other["kind"] in ("hybrid", "lookup"):
            fit = [known for known, found in drafters.items() if found["kind"] not in ("hybrid", "lookup")]
            told = f"one of {', '.join(fit)} is right" if fit else "drafters has none"
            yield f"drafters.{name}.drafter: {shown(made['drafter'])} is no drafter with a model: {told}"
    for name, made in drafters.items():
        if kind_of(made["kind"]).heads and drafters.get(made["drafter"], {}).get("kind") != "exits":
            fit = [known for known, found in drafters.items() if found["kind"] == "exits"]
            told = f"one of {', '.join(fit)} is right" if fit else "drafters has none"
            yield f"drafters.{name}.drafter: {shown(made['drafter'])} is no drafter of kind exits: {told}"
        elif made.get("risk") == "no_harm":
            promised = drafters[made["drafter"]].get("calibration", {}).get("risk")
            if promised != "no_harm":
                yield f"drafters.{name}.risk: no_harm needs drafters.{made['drafter']}.calibration.risk: no_harm"
    for name, made in trained_drafters(config).items():
        where = f"drafters.{name}"
        if "train" not in data["splits"]:
            yield f"{where}: is trained; data.splits {data['splits']} leaves nothing to train it on"
        if made["kind"] == "exits":
            yield from _heads_contradictions(where, made)
            continue
        if made["kind"] == online.KIND:
            yield from online.contradictions(where, made, config, name in drafters_in_use(config))
            continue
        features = made["features"]
        if features != sorted(set(features)):
            yield f"{where}.features: found {features}, ascending depths of the target are right"
        if "initial" in made:
            yield from _initial_contradictions(where, name, drafters)
        if made.get("answers") == "regenerated" and "answers" not in config:
            yield f"{where}.answers: regenerated needs the section answers, which says how; it is missing"
        steps, length = made.get("training", {}).get("ttt_length", 1), data.get("sequence_length", math.inf)
        if steps + 2 > length:
            yield f"{where}.training.ttt_length: {steps} steps do not fit into data.sequence_length, {length}"


LAYOUT = ("features", "fc_norm", "norm_output", "bias_rank", "confidence")


def _initial_contradictions(where: str, name: str, drafters: dict[str, Any]) -> Iterable[str]:
    """A drafter that begins with what is none, with itself, or with one of another layout; parts may be added."""
    made, initial = drafters[name], drafters[name]["initial"]
    other = drafters.get(initial, {})
    if initial == name or other.get("kind") not in ("eagle3", "trained_elsewhere"):
        kinds = ("eagle3", "trained_elsewhere")
        fit = [known for known, found in drafters.items() if found["kind"] in kinds and known != name]
        told = f"one of {', '.join(fit)} is right" if fit else "drafters has no other one"
        yield f"{where}.initial: {shown(initial)} is no other drafter of kind eagle3 or trained_elsewhere: {told}"
        return
    chain = [name]
    while (before := drafters[chain[-1]].get("initial")) in drafters and before not in chain:
        chain.append(before)
    if before == name:
        yield f"{where}.initial: leads back to itself: {', '.join([*chain, name])}; one of them must begin anew"
    if "start" in made.get("training", {}):
        yield f"{where}.training.start: does not go with initial, which says where training starts"
    for key in LAYOUT if other["kind"] == "eagle3" else ():
        ours, theirs = ((kind_of("eagle3").defaults | entry)[key] for entry in (made, other))
        if ours != theirs and not (key in ("bias_rank", "confidence") and not theirs):
            yield f"{where}.{key}: found {shown(ours)}, {shown(theirs)} of its initial {initial} is right"


def _heads_contradictions(where: str, made: dict[str, Any]) -> Iterable[str]:
    """Heads named twice, in both ways or in none, or captured before anybody knows where they are."""
    if ("heads" in made) == ("num_heads" in made):
        yield f"{where}.heads: a list of layers, or num_heads in its place; one of the two is right"
    heads = made.get("heads", [])
    twice = next((layer for layer in heads if heads.count(layer) > 1), None)
    if twice is not None:
        yield f"{where}.heads: layer {twice} stands there {heads.count(twice)} times; once is right"
    if "num_heads" in made and not heads_online(made):
        yield f"{where}.training.mode: offline does not go with num_heads, whose layers are captured before; list heads"


def _sweep_contradictions(name: str, sweep: dict[str, Any], drafters: list[str], ways: list[str]) -> Iterable[str]:
    """What one sweep says of drafts: trained ones by layer, T and capacity, or others by `drafter`; never both."""
    for key in ("layer", "T", "capacity", "objective", "seed"):
        if "drafter" in sweep and key in sweep:
            yield f"sweeps.{name}.{key}: does not go with drafter; a sweep is of trained drafts or of other drafters"
        if "drafter" not in sweep and key not in sweep and key in ("layer", "T", "capacity"):
            yield f"sweeps.{name}.{key}: missing; it must be set (or drafter, for drafters that are not trained)"
    for key, known in (("drafter", drafters), ("drafting", ways)):
        for position, value in enumerate(sweep.get(key, [])):
            if value not in known:
                where = "drafters" if key == "drafter" else "drafting"
                hint = suggestion(value, known) if known else "it has none"
                yield f"sweeps.{name}.{key}.{position}: {shown(value)} is not a key of {where}; {hint}"


def _cost_contradictions(config: dict[str, Any]) -> Iterable[str]:
    """Ways of drafting that say what a verification costs, and ask nobody to reckon with it."""
    for name, way in config["drafting"].items():
        if way.get("verification_cost") and not way.get("adapt"):
            yield f"drafting.{name}.verification_cost: is what adapt reckons with; set adapt too"


def _tree_contradictions(config: dict[str, Any]) -> Iterable[str]:
    """Ways of drafting that draft trees: with what ends chains, or in sweeps of drafters that draft chains alone."""
    trees = [name for name, way in config["drafting"].items() if "tree" in way]
    for name in trees:
        for key in ("min_confidence", "max_entropy", "adapt"):
            if config["drafting"][name].get(key):
                yield f"drafting.{name}.{key}: does not go with tree; it ends chains"
    for name, sweep in config["sweeps"].items():
        for way in trees:
            if way not in sweep["drafting"]:
                continue
            drafters = config["drafters"]
            made = {one: drafters[one] for one in sweep.get("drafter", []) if one in drafters}
            chains = [one for one, settings in made.items() if not _drafts_trees(settings, drafters)]
            if "drafter" not in sweep or chains:
                what = ", ".join(chains) or "an exit"
                yield f"sweeps.{name}.drafting: {way} drafts trees, {what} can not"


def _drafts_trees(made: dict[str, Any], drafters: dict[str, Any]) -> bool:
    """Whether a drafter can: a hybrid if its other drafter can."""
    other = made.get("drafter")
    if other is not None:
        return other not in drafters or kind_of(drafters[other]["kind"]).trees  # of what is none, others tell
    return kind_of(made["kind"]).trees


def _section_contradictions(config: dict[str, Any]) -> Iterable[str]:
    """Settings of drafting, drafters, batch, lengths, peers and identity that do not go with the rest."""
    if (policy := config.get("answers", {}).get("policy")) not in (None, *config["policies"]):
        hint = suggestion(policy, list(config["policies"]))
        yield f"answers.policy: {shown(policy)} is not a key of policies; {hint}"
    if FIXED in config["drafting"]:
        yield f"drafting.{FIXED}: this name means gamma tokens from the whole vocabulary; choose another one"
    for name in config["drafters"]:
        if name == config["target"]["name"]:
            yield f"drafters.{name}: this is the name of the target; choose another one"
    for section in ("batch", "lengths", "identity", "domains", "traces"):
        for position, sweep in enumerate(config.get(section, {}).get("sweeps", [])):
            if sweep not in config["sweeps"]:
                hint = suggestion(sweep, list(config["sweeps"]))
                yield f"{section}.sweeps.{position}: {shown(sweep)} is not a key of sweeps; {hint}"
    if all("drafter" in config["sweeps"].get(name, {}) for name in config.get("traces", {}).get("sweeps", [None])):
        yield "traces.sweeps: none of their drafts is trained; a trace is of the first one that is"
    if "identity" in config:
        chosen = {policy for name in config["identity"]["sweeps"] for policy in config["sweeps"][name]["policy"]}
        if all(config["policies"][policy]["temperature"] > 0 for policy in chosen):
            yield "identity.sweeps: none of their policies is greedy (temperature 0); identity means nothing else"
    prompts = config["data"]["prompts"]
    counts = dict.fromkeys(("acceptance", "peers", "identity", "traces"), "prompts") | {"lengths": "samples"}
    for section, key in counts.items():
        asked = config.get(section, {}).get(key, 0)
        if asked > prompts:
            yield f"{section}.{key}: {asked} is more than data.prompts, {prompts}"
    lengths = config.get("lengths", {}).get("lengths", [])
    if lengths != sorted(set(lengths)):
        yield f"lengths.lengths: found {lengths}, ascending lengths without repeats are right"
    for section, key, limit in (("batch", "sizes", prompts), ("peers", "batches", prompts)):
        largest = max(config.get(section, {}).get(key, [0]))
        if largest > limit:
            yield f"{section}.{key}: {largest} is more than data.prompts, {limit}"
    model = config.get("peers", {}).get("draft_model")
    if model is not None and config["drafters"].get(model, {}).get("kind") != "model":
        yield f"peers.draft_model: {shown(model)} is not a drafter of kind model"


def _domain_contradictions(config: dict[str, Any]) -> Iterable[str]:
    """Data sets of `domains` whose name is taken, that measure nothing, or whose settings do not go together."""
    section = config.get("domains", {"sweeps": [], "sets": {}})
    sweeps = [config["sweeps"][name] for name in section["sweeps"]]
    for position, name in enumerate(section.get("timed", [])):
        if name not in section["sweeps"]:
            hint = suggestion(name, section["sweeps"])
            yield f"domains.timed.{position}: {shown(name)} is not in domains.sweeps; {hint}"
    if section.get("timed") and not any("prompts" in made for made in section["sets"].values()):
        yield "domains.timed: none of domains.sets has prompts"
    for name, made in section["sets"].items():
        where = f"domains.sets.{name}"
        for other in ("data", "target"):
            if name == config[other]["name"]:
                yield f"{where}: this is the name of {other}; choose another one"
        if made.get("shape") == "prompts" and "held_out_tokens" in made:
            yield f"{where}.held_out_tokens: does not go with shape prompts, which have no answers"
        if not {"held_out_tokens", "prompts"} & set(made):
            yield f"{where}: measures nothing; set held_out_tokens (for quality) or prompts (for acceptance)"
        for length, amount in (("sequence_length", "held_out_tokens"), ("prompt_length", "prompts")):
            if amount in made and length not in made:
                yield f"{where}.{length}: missing; it must be set beside {amount}"
            if length in made and amount not in made:
                yield f"{where}.{length}: does not go without {amount}"
        shortest, longest = made.get("prompt_length", (0, 0))
        if shortest > longest:
            yield f"{where}.prompt_length: {shortest} > {longest}; the shortest comes first"
        if "held_out_tokens" in made and all("drafter" in sweep for sweep in sweeps):
            yield f"{where}.held_out_tokens: quality is of trained drafts; none of domains.sweeps has any"
