"""Sentences on how the study was set up, from its config, machine and baselines; what is not recorded is said."""

from collections.abc import Callable, Mapping
from typing import Any

from selfdraft.paper.cells import is_known, number, plain, whole
from selfdraft.paper.measured import Measured

UNKNOWN = "not recorded"
KINDS = {
    "lookup": "prompt lookup",
    "model": "a separate smaller model",
    "eagle3": "a layer of its own over the target's states (the EAGLE type)",
    "hybrid": "lookup where the text repeats itself, another drafter elsewhere",
    "exits": "several exits of one target",
    "adaptive_early_exit": "the first of several exits that is sure of a token",
    "dynamic": "one of several exits, chosen in each cycle from what was accepted",
    "dvi": "an exit that learns from its own verifications",
    "trained_elsewhere": "a draft that another training left",
}


def section(study: Measured, name: str) -> Mapping[str, Any]:
    """A section of the config; an empty one without."""
    found = study.config.get(name)
    return found if isinstance(found, Mapping) else {}


def target(study: Measured) -> str:
    """Which model is studied, and in which number format it runs."""
    name = section(study, "target").get("name")
    if not name:
        return f"The target's name is {UNKNOWN}."
    dtypes = sorted({str(value) for value in study.beside("batch").get("dtype", [])})
    return f"The target is `{name}`{f', run in {dtypes[0]}' if len(dtypes) == 1 else ''}."


def data(study: Measured) -> str:
    """On which text drafts are trained and measured."""
    said = section(study, "data")
    parts = [f"{whole(said['train_tokens'])} tokens to train on"] if is_known(said.get("train_tokens")) else []
    parts += [f"{whole(said['held_out_tokens'])} held out"] if is_known(said.get("held_out_tokens")) else []
    parts += [f"{whole(said['prompts'])} prompts"] if is_known(said.get("prompts")) else []
    lengths = said.get("prompt_length")
    if parts and lengths:
        parts[-1] += f" of {plain(lengths[0])} to {plain(lengths[1])} tokens"
    text = f"The text is `{study.dataset}`"
    return f"{text}: {', '.join(parts)}; no conversation is in two of these parts." if parts else f"{text}."


def training(study: Measured) -> str:
    """How drafts are trained."""
    said = section(study, "training")
    if not said:
        return f"The settings of training are {UNKNOWN}."
    epochs = said.get("epochs")
    seen = "once" if epochs == 1 else f"{plain(epochs)} times" if is_known(epochs) else ""
    parts = [f"the objective is `{said['objective']}`"] if "objective" in said else []
    parts += [f"the training tokens are seen {seen}"] if seen else []
    parts += [f"a step takes {whole(said['tokens_per_step'])} tokens"] if is_known(said.get("tokens_per_step")) else []
    text = ", ".join(parts)
    return f"{text[:1].upper()}{text[1:]}." if text else f"The settings of training are {UNKNOWN}."


def policies(study: Measured) -> str:
    """How tokens are sampled."""
    said = section(study, "policies")
    found = []
    for name in study.policies:
        of = said.get(name, {})
        warps = [f"temperature {plain(of['temperature'])}"] if of.get("temperature") else []
        warps += [f"top-p {plain(of['top_p'])}"] if of.get("top_p", 1) < 1 else []
        warps += [f"top-k {plain(of['top_k'])}"] if of.get("top_k") else []
        found.append(f"`{name}` ({', '.join(warps)})" if warps else f"`{name}`")
    if not found:
        return "Nothing was decoded."
    return f"Tokens are chosen under {'the policy' if len(found) == 1 else 'the policies'} {' and '.join(found)}."


def acceptance(study: Measured) -> str:
    """On how many prompts acceptance is counted."""
    said = section(study, "acceptance")
    if not is_known(said.get("prompts")):
        return ""
    text = f"Acceptance is counted on {whole(said['prompts'])} prompts"
    if is_known(said.get("max_new_tokens")):
        text += f" of at most {whole(said['max_new_tokens'])} new tokens"
    return f"{text}, in {said['dtype']}." if said.get("dtype") not in (None, "auto") else f"{text}."


def speed(study: Measured) -> str:
    """How often speed is timed."""
    said = section(study, "speed")
    if not is_known(said.get("prompts")):
        return ""
    text = f"Speed is timed on {whole(said['prompts'])} prompts"
    if is_known(said.get("max_new_tokens")):
        text += f", in stretches of {whole(said['max_new_tokens'])} new tokens"
    return f"{text}, {whole(said['repeats'])} times each." if is_known(said.get("repeats")) else f"{text}."


def statistics(study: Measured) -> str:
    """How intervals are made."""
    said = section(study, "statistics")
    if not is_known(said.get("confidence")):
        return f"The level of the intervals is {UNKNOWN}."
    text = f"Intervals are at {100 * said['confidence']:g} %"
    return f"{text}, from {whole(said['resamples'])} resamples." if is_known(said.get("resamples")) else f"{text}."


def machine(study: Measured) -> str:
    """Where speed was measured."""
    found = study.surroundings.get("machine") or {}
    name = found.get("gpu") or found.get("cpu")
    if not name:
        return f"The machine is {UNKNOWN}."
    text = f"Speed was measured on {name}"
    if found.get("threads") and not found.get("gpu"):
        text += f" with {plain(found['threads'])} threads"
    if is_known(found.get("read_bandwidth_gb_s")):
        text += f", which reads {number(found['read_bandwidth_gb_s'], 1)} GB/s"
    return f"{text}."


def baselines(study: Measured) -> str:
    """How fast vanilla decoding and transformers' generate are."""
    rows = study.points()
    found = {}
    for name in ("vanilla_tps", "transformers_tps"):
        values = rows[name].dropna() if name in rows else rows.iloc[:0, 0]
        found[name] = float(values.median()) if len(values) else None
    if found["vanilla_tps"] is None:
        return "The speed of the baselines was not measured."
    text = f"Vanilla decoding runs at {number(found['vanilla_tps'], 1)} tokens/s"
    if found["transformers_tps"] is None:
        return f"{text}; transformers' `generate` was not measured."
    return f"{text}, transformers' `generate` on the same weights at {number(found['transformers_tps'], 1)}."


def drafters(study: Measured) -> str:
    """Which drafters beside exits were measured, and that there was none of the EAGLE type if so."""
    names = [name for name in study.results.loc[study.results["layer"].isna(), "drafter"].unique() if name]
    kinds = {name: study.kind(name) for name in names}
    said = [
        f"`{name}`, {KINDS[kind]}" if kind != name else KINDS[kind] for name, kind in kinds.items() if kind in KINDS
    ]
    said += [f"`{name}`" for name, kind in kinds.items() if kind not in KINDS]
    text = f"Beside exits the study measures {'; '.join(said)}." if said else "Exits alone were measured."
    if "eagle3" not in kinds.values():
        text += " A drafter of the EAGLE type was not measured."
    return text


SETUP: dict[str, Callable[[Measured], str]] = {
    f"setup_{make.__name__}": make
    for make in (target, data, training, policies, acceptance, speed, statistics, machine, baselines, drafters)
}


def setup(study: Measured) -> dict[str, str]:
    """All of them by name: `setup_target` and so on."""
    return {name: make(study) for name, make in SETUP.items()}
