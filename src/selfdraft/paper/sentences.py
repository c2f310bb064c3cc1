"""Sentences whose truth depends on the numbers: the tables choose between their forms, nobody writes them in advance.

Each function takes the study and gives one sentence or a few, without a digit that does not come from its tables; empty
where there is nothing to say. What the study did not measure is said as such.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from selfdraft.paper.cells import estimate, interval, is_known, number, plain, whole
from selfdraft.paper.measured import Measured, Row, is_itself
from selfdraft.paper.tables import (
    best,
    best_of_methods,
    by_depth,
    by_text,
    method_of,
    of_draft,
    of_one_layer,
    records,
    widest,
    without_itself,
)

COUNTS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def count(found: int) -> str:
    """A small number as a word."""
    return COUNTS[found] if found < len(COUNTS) else f"{found:,}"


def listed(words: Iterable[str]) -> str:
    """a; a and b; a, b and c."""
    *first, last = list(words) or [""]
    return f"{', '.join(first)} and {last}" if first else last


def percent(value: float) -> str:
    """A share in percent."""
    return f"{100 * value:.0f} %"


def times(row: Row) -> str:
    """A point's speedup and its interval."""
    return estimate(row, "speedup")


def side(row: Row, name: str = "speedup", of: float = 1.0) -> int:
    """1 if a measure's interval lies above `of`, -1 if below, 0 if it holds it or there is none."""
    ends = interval(row, name)
    return 0 if ends is None else int(ends[0] > of) - int(ends[1] < of)


def timed(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """The points with a speedup."""
    return [row for row in records(rows) if is_known(row.get("speedup"))]


def own(study: Measured) -> pd.DataFrame:
    """All points on the study's own text under the usual policy."""
    rows = study.results
    return rows[(rows["dataset"] == study.dataset) & (rows["policy"] == study.policy)]


def of_exits(study: Measured) -> str:
    """Whether an exit pays: of all exits under the usual policy that are not the target itself."""
    rows = own(study)
    points = timed(without_itself(rows[rows["layer"].notna()]))
    fastest = best(points)
    if fastest is None:
        return "The speed of exits was not measured."
    name = f"{of_draft(fastest)}, {_how(study, fastest)}"
    paying = sum(side(row) > 0 for row in points)
    losing = sum(side(row) < 0 for row in points)
    if paying:
        return (
            f"Of {count(len(points))} measured ways to draft with an exit {count(paying)} {_pays(paying)}: the fastest, "
            f"{name}, reaches {times(fastest)} times the speed of vanilla decoding."
        )
    if losing == len(points):
        return (
            f"No exit pays: each of the {count(len(points))} measured ways to draft with one is slower than vanilla "
            f"decoding. The fastest, {name}, reaches {times(fastest)} times its speed."
        )
    return (
        f"No exit clearly pays: of {count(len(points))} measured ways to draft with one, none has an interval above the "
        f"speed of vanilla decoding. The fastest, {name}, reaches {times(fastest)} times that speed."
    )


def _pays(found: int) -> str:
    return "pays" if found == 1 else "pay"


def _how(study: Measured, row: Row) -> str:
    way = "" if row["drafting"] == study.usual["drafting"] else f", drafting {row['drafting']}"
    return f"draft length {plain(row['gamma'])}{way}"


def of_other_drafters(study: Measured) -> str:
    """Whether each drafter that is no exit pays."""
    rows = own(study)
    rows = rows[rows["layer"].isna()]
    if rows.empty:
        return "Other drafters than exits were not measured."
    said = []
    for drafter, points in rows.groupby("drafter", sort=False):
        kind = study.kind(str(drafter))
        name = {"lookup": "Prompt lookup", "eagle3": "The EAGLE-type layer", "model": "The separate draft model"}.get(
            kind, f"The drafter {drafter}"
        )
        fastest = best(timed(points))
        if fastest is None:
            said.append(f"The speed of {name[0].lower()}{name[1:]} was not measured.")
            continue
        verdict = {1: "pays", 0: "neither clearly pays nor clearly costs", -1: "does not pay"}[side(fastest)]
        said.append(f"{name} {verdict}: {times(fastest)} times the speed of vanilla decoding.")
    return " ".join(said)


def of_the_fastest(study: Measured) -> str:
    """The fastest method of all, and how many are clearly faster than vanilla decoding."""
    found = [row for row in best_of_methods(study) if is_known(row.get("speedup"))]
    if not found:
        return "Speed was not measured in this study."
    first = found[0]
    verdict = {
        1: "is faster than vanilla decoding",
        0: "is neither clearly faster nor clearly slower than vanilla decoding",
        -1: "is still slower than vanilla decoding",
    }[side(first)]
    paying = sum(side(row) > 0 for row in found)
    return (
        f"The fastest of {count(len(found))} methods, {method_of(study, first)}, {verdict} ({times(first)} times its "
        f"speed); {count(paying)} of them in all {'is' if paying == 1 else 'are'} clearly faster."
    )


def of_a_cycle(study: Measured) -> str:
    """What a cycle of the exit that is accepted most costs, and how many accepted tokens would pay for it."""
    points = [row for row in timed(without_itself(study.exits())) if is_known(row.get("accepted_mean"))]
    if not points:
        return "What a cycle costs was not measured."
    row = max(points, key=lambda point: float(point["accepted_mean"]))
    parts = [row.get(name) for name in ("draft_ms", "verify_ms", "vanilla_tps")]
    if not all(map(is_known, parts)):
        return "What a cycle costs was not measured."
    draft, verify, vanilla = float(row["draft_ms"]), float(row["verify_ms"]), 1000 / float(row["vanilla_tps"])
    needed = (draft + verify) / vanilla - 1
    gets = float(row["accepted_mean"])
    verdict = "which it exceeds" if gets > needed else "which it does not reach"
    if needed <= 0:
        verdict, needed = "and a cycle is cheaper than one vanilla step in any case", 0.0
    return (
        f"A cycle of the exit that is accepted most ({of_draft(row)}, draft length {plain(row['gamma'])}) takes "
        f"{number(draft, 1)} ms to draft and {number(verify, 1)} ms to verify, against {number(vanilla, 1)} ms for a token "
        f"of vanilla decoding: draft and verification alone are paid for from {number(needed)} accepted tokens a cycle "
        f"on, {verdict} with {number(gets)}."
    )


def of_depth(study: Measured) -> str:
    """How KL, acceptance and speed go with the exit's depth, for the capacity of most layers."""
    rows = without_itself(by_depth(study))
    rows = rows[rows["policy"] == study.policy]
    if rows["layer"].nunique() < 2:
        return "Exits were measured at one depth alone." if len(rows) else "Exits were not measured."
    said = []
    for capacity, points in rows.groupby("capacity", sort=False):
        ordered = records(points.sort_values("layer"))
        parts = [
            text
            for name, word in (("kl_at_1", "KL to the target"), ("accepted_mean", "acceptance"), ("speedup", "speedup"))
            if (text := _course(ordered, name, word))
        ]
        if parts:
            said.append(
                f"From layer {plain(ordered[0]['layer'])} to {plain(ordered[-1]['layer'])} with {capacity}, "
                f"{listed(parts)}."
            )
    return " ".join(said)


def _course(ordered: Sequence[Row], name: str, word: str) -> str:
    """How a measure goes along some points: it falls, it rises, or it does neither all the way."""
    known = [row for row in ordered if is_known(row.get(name))]
    if len(known) < 2:
        return ""
    steps = np.sign(np.diff([float(row[name]) for row in known]))
    first, last = known[0], known[-1]
    how = "falls" if (steps < 0).all() else "rises" if (steps > 0).all() else "goes up and down, from first to last"
    how = "stays" if not steps.any() else how
    if steps.any() and how.startswith("goes"):
        return f"{word} {how} {number(first[name])} to {number(last[name])}"
    return f"{word} {how} from {number(first[name])} to {number(last[name])}" if steps.any() else f"{word} {how}"


def of_capacity(study: Measured) -> str:
    """Whether more trained parameters make a better draft at one layer."""
    rows = [row for row in records(of_one_layer(study)) if is_known(row.get("kl_at_1"))]
    sized = [row for row in rows if is_known(row.get("trained_parameters"))]
    if len(sized) < 2:
        return "Several capacities at one layer were not measured."
    top = min(sized, key=lambda row: float(row["kl_at_1"]))
    smaller = [row for row in sized if row["trained_parameters"] < top["trained_parameters"]]
    larger = [row for row in sized if row["trained_parameters"] > top["trained_parameters"]]
    start = (
        f"At layer {plain(top['layer'])} the lowest KL is that of {top['capacity']} "
        f"({whole(top['trained_parameters'])} parameters, {estimate(top, 'kl_at_1')} nats)"
    )
    near = [row for row in smaller if not _apart(study, row, top)]
    if near:
        least = min(near, key=lambda row: float(row["trained_parameters"]))
        end = (
            f"; {least['capacity']}, with {whole(least['trained_parameters'])}, is not clearly worse "
            f"({estimate(least, 'kl_at_1')})."
        )
    elif larger:
        end = f", better than {listed(str(row['capacity']) for row in larger)} with more parameters."
    else:
        end = ", the largest of them, and everything smaller is clearly worse."
    return start + end


def _apart(study: Measured, one: Row, other: Row) -> bool:
    """Whether two capacities differ clearly in KL: by the paired difference where there is one, else by their bars."""
    table = study.beside("differences")
    if len(table) and "kl_at_1_low" in table:
        same = (table["varied"] == "capacity") & (table["layer"] == one["layer"])
        for name in ("T", "objective", "seed", "policy", "gamma", "dataset", "drafting"):
            same &= table[name].isin([one[name], ""]) if name in table else True
        for row in records(table[same]):
            if {row["first"], row["second"]} == {one["capacity"], other["capacity"]} and is_known(row["kl_at_1_low"]):
                return side(row, "kl_at_1", 0.0) != 0
    a, b = interval(one, "kl_at_1"), interval(other, "kl_at_1")
    return a is not None and b is not None and (a[0] > b[1] or b[0] > a[1])


def of_length(study: Measured) -> str:
    """How acceptance and speed go with the draft length."""
    family = widest(study, "gamma")
    if family is None:
        return "One draft length alone was measured."
    ordered = records(family)
    parts = [
        text
        for name, word in (("accepted_mean", "acceptance"), ("speedup", "speedup"))
        if (text := _course(ordered, name, word))
    ]
    lengths = f"{plain(ordered[0]['gamma'])} to {plain(ordered[-1]['gamma'])} tokens"
    return f"With drafts of {lengths} ({of_draft(ordered[0])}), {listed(parts)}."


def of_temperature(study: Measured) -> str:
    """Whether a temperature of the loss other than the usual one makes better drafts."""
    family = widest(study, "T")
    if family is None:
        return "One temperature of the loss alone was measured."
    usual = study.usual["T"]
    rows = [row for row in records(family) if is_known(row.get("kl_at_1"))]
    base = next((row for row in rows if row["T"] == usual), None)
    if base is None or len(rows) < 2:
        return "One temperature of the loss alone was measured."
    better = [row for row in rows if row is not base and row["kl_at_1"] < base["kl_at_1"]]
    name = f"KL at the sampling temperature, {of_draft(base)}"
    if better:
        top = min(better, key=lambda row: float(row["kl_at_1"]))
        return (
            f"A loss at temperature {plain(top['T'])} gives a lower KL ({estimate(top, 'kl_at_1')}) than one at "
            f"{plain(usual)} ({estimate(base, 'kl_at_1')}; {name})."
        )
    others = " or ".join(plain(row["T"]) for row in rows if row is not base)
    return f"A loss at temperature {others} gives no lower KL than one at {plain(usual)} ({name})."


def of_start(study: Measured) -> str:
    """What training adds to the linear start."""
    rows = study.exits("objective", "policy")
    found = []
    for _, pair in rows.groupby(["layer", "capacity"], sort=True):
        by = {row["objective"]: row for row in records(pair) if is_known(row.get("kl_at_1"))}
        if "none" in by and study.usual["objective"] in by:
            found.append((by["none"], by[study.usual["objective"]]))
    if not found:
        return "Drafts without a training step were not measured."
    start, end = max(found, key=lambda pair: float(pair[0]["layer"]))
    text = (
        f"At layer {plain(start['layer'])} ({start['capacity']}) the linear start alone, without a step of training, has a "
        f"KL of {estimate(start, 'kl_at_1')} nats"
    )
    if end["kl_at_1"] < start["kl_at_1"]:
        return f"{text}; training brings it to {estimate(end, 'kl_at_1')}."
    return f"{text}; training does not lower it ({estimate(end, 'kl_at_1')})."


def of_drafting(study: Measured) -> str:
    """Whether another way of drafting than the fixed one pays."""
    family = widest(study, "drafting")
    rows = [] if family is None else timed(family)
    base = next((row for row in rows if row["drafting"] == study.usual["drafting"]), None)
    others = [row for row in rows if row is not base]
    if base is None or not others:
        return "Other ways of drafting than one of fixed length were not measured."
    faster = sorted((row for row in others if row["speedup"] > base["speedup"]), key=lambda row: -row["speedup"])
    if not faster:
        return (
            f"No other way of drafting is faster than one of fixed length ({of_draft(base)}, {times(base)}): the best of "
            f"{listed(str(row['drafting']) for row in others)} reaches {times(max(others, key=lambda r: r['speedup']))}."
        )
    text = listed(f"{row['drafting']} ({times(row)})" for row in faster)
    end = ""
    if side(faster[0]) < 0:
        end = " None of them makes it pay."
    elif side(faster[0]) > 0 >= side(base):
        end = " The first makes an exit pay that does not at fixed length."
    return f"Faster than drafts of fixed length ({of_draft(base)}, {times(base)}) are {text}.{end}"


def of_domains(study: Measured) -> str:
    """Whether drafts hold up on other text than their own."""
    found = records(by_text(study))
    said, seen = [], set()
    for row in found:
        key = (row["drafter"], row["layer"] if is_known(row["layer"]) else None, row["capacity"])
        if key in seen:
            continue
        seen.add(key)
        of = {
            point["dataset"]: point
            for point in found
            if point["drafter"] == row["drafter"]
            and point["capacity"] == row["capacity"]
            and (point["layer"] == row["layer"] or not is_known(row["layer"]))
            and is_known(point.get("accepted_mean"))
        }
        home = of.pop(study.dataset, None)
        if home is None or not of:
            continue
        worse = [name for name, point in of.items() if _below(point, home)]
        better = [name for name, point in of.items() if _below(home, point)]
        same = [name for name in of if name not in (*worse, *better)]
        parts = [f"clearly less on {listed(worse)}"] if worse else []
        parts += [f"clearly more on {listed(better)}"] if better else []
        parts += [f"about as many on {listed(same)}"] if same else []
        said.append(
            f"{of_draft(row)} has {estimate(home, 'accepted_mean')} tokens accepted a cycle on its own text, "
            f"{listed(parts)}"
        )
    return f"{'; '.join(said)}." if said else "Acceptance on other text was not measured."


def _below(one: Row, other: Row) -> bool:
    """Whether one point's interval of acceptance lies below the other's."""
    a, b = interval(one, "accepted_mean"), interval(other, "accepted_mean")
    return a is not None and b is not None and a[1] < b[0]


def of_sampling(study: Measured) -> str:
    """How acceptance under the second policy stands to that under the usual one."""
    if len(study.policies) < 2:
        return "One sampling policy alone was measured."
    first, second = study.policies[:2]
    rows = without_itself(study.exits("policy"))
    pairs = []
    for _, points in rows.groupby(["layer", "capacity"]):
        by = {row["policy"]: row for row in records(points) if is_known(row.get("accepted_mean"))}
        if first in by and second in by:
            pairs.append((by[first], by[second]))
    if not pairs:
        return "No exit was measured under two policies."
    fewer = sum(b["accepted_mean"] < a["accepted_mean"] for a, b in pairs)
    apart = sum(_below(a, b) or _below(b, a) for a, b in pairs)
    if len(pairs) == 1:
        word = "less" if fewer else "not less"
        return f"The one exit measured under both policies is {word} often accepted under {second} than under {first}."
    clear = f"clearly so at {count(apart)}" if apart else "at none so that their intervals part"
    return (
        f"Under {second}, {count(fewer)} of {count(len(pairs))} exits have fewer tokens accepted than under {first}; the "
        f"two differ {clear}."
    )


def of_batches(study: Measured) -> str:
    """How the speedup goes with the batch size."""
    rows = timed(study.beside("batch"))
    rows = [row for row in rows if row.get("policy") in (study.policy, None)]
    if not rows:
        return "Batches were not measured."
    said = []
    for draft in dict.fromkeys(map(of_draft, rows)):
        ordered = sorted((row for row in rows if of_draft(row) == draft), key=lambda row: row["batch"])
        first, last = ordered[0], ordered[-1]
        if first is last:
            said.append(f"{draft} reaches {times(first)} at batch {plain(first['batch'])}")
            continue
        change = "falls" if _under(last, first) else "rises" if _under(first, last) else "does not clearly change"
        said.append(
            f"for {draft} the speedup {change} between batch {plain(first['batch'])} ({times(first)}) and "
            f"{plain(last['batch'])} ({times(last)})"
        )
    text = "; ".join(said)
    return f"{text[0].upper()}{text[1:]}."


def _under(one: Row, other: Row) -> bool:
    a, b = interval(one, "speedup"), interval(other, "speedup")
    return a is not None and b is not None and a[1] < b[0]


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
        text = f"Each of the {count(len(rows))} runs of a method in this project is clearly faster than the same in"
    else:
        verb = "is" if faster == 1 else "are"
        text = f"Of {count(len(rows))} runs of a method in this project {count(faster)} {verb} clearly faster than the same in"
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
            f"Compiling does not help here: the best compiled step ({top['mode']}) runs at "
            f"{number(top['ratio_to_eager'])} times the speed of the eager one."
        )
    return (
        f"Compiling makes a step up to {number(top['ratio_to_eager'])} times as fast ({top['mode']}, "
        f"{plain(top['depth'])} layers)."
    )


def of_identity(study: Measured) -> str:
    """Whether greedy output was the target's own, by all that was compared."""
    rows = study.results
    shares = [row for row in records(rows) if is_known(row.get("identical"))]
    more = study.beside("identity")
    exact = [row for row in records(more) if row["dtype"] == "float32" and is_known(row["identical"])]
    rough = [float(row["identical"]) for row in records(more) if row["dtype"] != "float32" and is_known(row["identical"])]
    if not shares and not exact:
        return "Whether outputs are identical was not measured."
    apart = sum(row["identical"] < 1 for row in (*shares, *exact))
    total = len(shares) + len(exact)
    if apart:
        text = f"At {count(apart)} of {count(total)} points greedy output in float32 was not vanilla decoding's own."
    else:
        text = (
            f"At all {count(total)} points that were compared, greedy output in float32 was vanilla decoding's own, token "
            "by token."
        )
    if rough:
        text += (
            f" In the target's own number format {percent(min(rough))} to {percent(max(rough))} of the answers were: "
            "kernels round differently for one token and for several, and answers part at near-ties."
        )
    return text


def of_prediction(study: Measured) -> str:
    """How well acceptance and single steps predict the measured speed."""
    rows = [row for row in timed(study.results) if is_known(row.get("predicted_speedup"))]
    if not rows:
        return "Predictions were not made."
    errors = [abs(row["speedup"] / row["predicted_speedup"] - 1) for row in rows]
    text = (
        f"Over {count(len(rows))} points the measured speedup differs from the predicted one by "
        f"{percent(float(np.median(errors)))} in the median, by {percent(max(errors))} at most."
    )
    said = [row["impossible"] for row in rows if is_known(row.get("impossible"))]
    if not said:
        return text
    above = sum(value > 0 for value in said)
    if above:
        return f"{text} {count(above).capitalize()} of them {_lies(above)} above what acceptance allows, and should be timed again."
    return f"{text} None lies above what its acceptance allows."


def _lies(found: int) -> str:
    return "lies" if found == 1 else "lie"


def of_disturbance(study: Measured) -> str:
    """How many of the timed runs other work on the machine held up."""
    rows = [row for row in timed(study.results) if is_known(row.get("disturbed"))]
    if not rows:
        return "Whether other work disturbed the timed runs was not recorded."
    worst = max(rows, key=lambda row: float(row["disturbed"]))
    if worst["disturbed"] == 0:
        return "No timed run was disturbed by other work on the machine."
    mean = float(np.mean([row["disturbed"] for row in rows]))
    return (
        f"Other work on the machine disturbed {percent(mean)} of the timed runs, {percent(worst['disturbed'])} at the worst "
        f"point ({method_of(study, worst)})."
    )


def of_seeds(study: Measured) -> str:
    """How far training seeds are apart."""
    rows = [row for row in records(study.beside("seed_spread")) if is_known(row.get("kl_at_1_sd"))]
    rows = [row for row in rows if row.get("dataset") in (study.dataset, None)]
    if not rows:
        return "Each draft was trained with one seed; the spread between seeds was not measured."
    worst = max(rows, key=lambda row: float(row["kl_at_1_sd"]))
    seeds = len(str(worst["seeds"]).split())
    text = f"Over {count(seeds)} training seeds the standard deviation of KL is at most {number(worst['kl_at_1_sd'], 3)} nats"
    spread = [float(row["accepted_mean_sd"]) for row in rows if is_known(row.get("accepted_mean_sd"))]
    return f"{text}, that of accepted tokens {number(max(spread))}." if spread else f"{text}."


def of_weights(study: Measured) -> str:
    """What the target's weights are, where the config tells a file of its source."""
    source = study.config.get("target", {}).get("source", {})
    file = str(source.get("member", source.get("path", ""))).rpartition("/")[2]
    if file.endswith(".gguf"):
        return f"The target's weights come from the quantised file {file}: all numbers are of that model."
    return ""


def of_itself(study: Measured) -> str:
    """How fast the exit at the last layer is, at which a draft is the target itself."""
    rows = [row for row in timed(own(study)) if is_itself(row) and is_known(row["layer"])]
    if not rows:
        return ""
    top = max(rows, key=lambda row: float(row["speedup"]))
    return (
        f"At the last layer (layer {plain(top['layer'])}) the draft is the target itself, everything is accepted, and the "
        f"method can at most break even: it reaches {times(top)}."
    )


SENTENCES: dict[str, Callable[[Measured], str]] = {
    "exits": of_exits,
    "others": of_other_drafters,
    "fastest": of_the_fastest,
    "cycle": of_a_cycle,
    "depth": of_depth,
    "itself": of_itself,
    "capacity": of_capacity,
    "length": of_length,
    "temperature": of_temperature,
    "start": of_start,
    "drafting": of_drafting,
    "domains": of_domains,
    "sampling": of_sampling,
    "batches": of_batches,
    "peers": of_peers,
    "compilers": of_compilers,
    "identity": of_identity,
    "prediction": of_prediction,
    "disturbance": of_disturbance,
    "seeds": of_seeds,
    "weights": of_weights,
}


def sentences(study: Measured) -> dict[str, str]:
    """All of them by name."""
    return {name: make(study) for name, make in SENTENCES.items()}


