"""Sentences on what is measured beside the drafts: batches, implementations, compilers, identity, the weights."""

from selfdraft.paper.cells import is_known, number, plain
from selfdraft.paper.measured import Measured
from selfdraft.paper.tables import records
from selfdraft.paper.wording import below, code, count, draft, each, percent, side, timed, times


def of_batches(study: Measured) -> str:
    """How the speedup goes with the batch size."""
    rows = timed(study.beside("batch"))
    rows = [row for row in rows if row.get("policy") in (study.policy, None)]
    if not rows:
        return "Batches were not measured."
    said = []
    for name in dict.fromkeys(map(draft, rows)):
        ordered = sorted((row for row in rows if draft(row) == name), key=lambda row: row["batch"])
        first, last = ordered[0], ordered[-1]
        if first is last:
            said.append(f"{name} reaches {times(first)} at batch {plain(first['batch'])}")
            continue
        change = (
            "falls"
            if below(last, first, "speedup")
            else "rises"
            if below(first, last, "speedup")
            else "does not clearly change"
        )
        said.append(
            f"for {name} the speedup {change} between batch {plain(first['batch'])} ({times(first)}) and "
            f"{plain(last['batch'])} ({times(last)})"
        )
    text = "; ".join(said)
    return f"{text[0].upper()}{text[1:]}."


def of_peers(study: Measured) -> str:
    """How fast this project's own methods are beside the same ones of transformers."""
    rows = [
        row
        for row in records(study.beside("peers"))
        if row["implementation"] == "selfdraft" and is_known(row.get("ratio_to_transformers"))
    ]
    if not rows:
        return "Other implementations were not measured."
    ratios = [float(row["ratio_to_transformers"]) for row in rows]
    factors = f"the factors reach from {number(min(ratios))} to {number(max(ratios))}"
    faster = sum(side(row, "ratio_to_transformers") > 0 for row in rows)
    if faster == len(rows):
        text = f"{each(len(rows), 'run').capitalize()} of a method here is clearly faster than the same in"
    else:
        verb = "is" if faster == 1 else "are"
        text = f"Of {count(len(rows))} runs of a method here {count(faster)} {verb} clearly faster than the same in"
    text = f"{text} transformers; {factors}."
    vanilla = [row for row in rows if row["method"] == "vanilla"]
    if vanilla and all(side(row, "ratio_to_transformers") > 0 for row in vanilla):
        text += " A speedup here is therefore over the faster of the two baselines."
    elif any(side(row, "ratio_to_transformers") < 0 for row in vanilla):
        text += " The speedups here are over the slower of the two baselines, and to be read with that in mind."
    return text


def of_compilers(study: Measured) -> str:
    """Whether compiled steps are faster."""
    rows = [
        row
        for row in records(study.beside("compile"))
        if row["mode"] != "eager" and is_known(row.get("ratio_to_eager")) and is_known(row["step_ms"])
    ]
    if not rows:
        return "Compiled steps were not measured."
    top = max(rows, key=lambda row: float(row["ratio_to_eager"]))
    if top["ratio_to_eager"] <= 1:
        return (
            f"Compiling does not help here: the best compiled step ({code(top['mode'])}) runs at "
            f"{number(top['ratio_to_eager'])} times the speed of the eager one."
        )
    return (
        f"Compiling makes a step up to {number(top['ratio_to_eager'])} times as fast ({code(top['mode'])}, "
        f"{plain(top['depth'])} layers)."
    )


def of_identity(study: Measured) -> str:
    """Whether greedy output was the target's own, by all that was compared."""
    rows = study.results
    shares = [row for row in records(rows) if is_known(row.get("identical"))]
    more = study.beside("identity")
    exact = [row for row in records(more) if row["dtype"].startswith("float32") and is_known(row["identical"])]
    rough = [
        float(row["identical"])
        for row in records(more)
        if not row["dtype"].startswith("float32") and is_known(row["identical"])
    ]
    if not shares and not exact:
        return "Whether outputs are identical was not measured."
    apart = sum(row["identical"] < 1 for row in (*shares, *exact))
    total = len(shares) + len(exact)
    if apart:
        text = f"At {count(apart)} of {count(total)} points greedy output in float32 was not vanilla decoding's own."
    else:
        text = (
            f"At {each(total, 'point')} that was compared, greedy output in float32 was vanilla decoding's own, "
            "token by token."
        )
    if rough:
        text += (
            f" In the target's own number format {percent(min(rough))} to {percent(max(rough))} of the answers were: "
            "kernels round differently for one token and for several, and answers part at near-ties."
        )
    return text


def of_weights(study: Measured) -> str:
    """What the target's weights are, where the config tells a file of its source."""
    source = study.config.get("target", {}).get("source", {})
    file = str(source.get("member", source.get("path", ""))).rpartition("/")[2]
    if file.endswith(".gguf"):
        return f"The target's weights come from the quantised file {code(file)}: all numbers are of that model."
    return ""
