"""Sentences on drafts: how quality and acceptance go with depth, capacity, training, length, sampling and text."""

from selfdraft.paper.cells import estimate, interval, is_known, number, plain, whole
from selfdraft.paper.measured import Measured, Row
from selfdraft.paper.tables import by_depth, by_text, of_one_layer, records, widest, without_itself
from selfdraft.paper.wording import below, code, count, course, draft, listed, side


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
            if (text := course(ordered, name, word))
        ]
        if parts:
            said.append(
                f"From layer {plain(ordered[0]['layer'])} to {plain(ordered[-1]['layer'])} with {code(capacity)}, "
                f"{listed(parts)}."
            )
    return " ".join(said)


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
        f"At layer {plain(top['layer'])} the lowest KL is that of {code(top['capacity'])} "
        f"({whole(top['trained_parameters'])} parameters, {estimate(top, 'kl_at_1')} nats)"
    )
    near = [row for row in smaller if not _apart(study, row, top)]
    if near:
        least = min(near, key=lambda row: float(row["trained_parameters"]))
        end = (
            f"; {code(least['capacity'])}, with {whole(least['trained_parameters'])}, is not clearly worse "
            f"({estimate(least, 'kl_at_1')})."
        )
    elif larger:
        end = f", better than {listed(code(row['capacity']) for row in larger)} with more parameters."
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
        if (text := course(ordered, name, word))
    ]
    lengths = f"{plain(ordered[0]['gamma'])} to {plain(ordered[-1]['gamma'])} tokens"
    return f"With drafts of {lengths} ({draft(ordered[0])}), {listed(parts)}."


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
    name = f"KL at the sampling temperature, {draft(base)}"
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
        f"At layer {plain(start['layer'])} ({code(start['capacity'])}) the linear start alone, without a step of "
        f"training, has a KL of {estimate(start, 'kl_at_1')} nats"
    )
    if end["kl_at_1"] < start["kl_at_1"]:
        return f"{text}; training brings it to {estimate(end, 'kl_at_1')}."
    return f"{text}; training does not lower it ({estimate(end, 'kl_at_1')})."


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
    apart = sum(below(a, b, "accepted_mean") or below(b, a, "accepted_mean") for a, b in pairs)
    if len(pairs) == 1:
        word = "less" if fewer else "not less"
        return (
            f"The one exit measured under both is {word} often accepted under {code(second)} than under {code(first)}."
        )
    clear = f"clearly so at {count(apart)}" if apart else "at none so that their intervals part"
    return (
        f"Under {code(second)}, {count(fewer)} of {count(len(pairs))} exits have fewer tokens accepted than under "
        f"{code(first)}; the two differ {clear}."
    )


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
        worse = [name for name, point in of.items() if below(point, home, "accepted_mean")]
        better = [name for name, point in of.items() if below(home, point, "accepted_mean")]
        same = [name for name in of if name not in (*worse, *better)]
        parts = [f"clearly less on {listed(map(code, worse))}"] if worse else []
        parts += [f"clearly more on {listed(map(code, better))}"] if better else []
        parts += [f"about as many on {listed(map(code, same))}"] if same else []
        said.append(
            f"{draft(row)} has {estimate(home, 'accepted_mean')} tokens accepted a cycle on its own text, "
            f"{listed(parts)}"
        )
    return f"Of the drafts, {'; '.join(said)}." if said else "Acceptance on other text was not measured."


def of_seeds(study: Measured) -> str:
    """How far training seeds are apart."""
    rows = [row for row in records(study.beside("seed_spread")) if is_known(row.get("kl_at_1_sd"))]
    rows = [row for row in rows if row.get("dataset") in (study.dataset, None)]
    if not rows:
        return "The spread between training seeds was not measured."
    worst = max(rows, key=lambda row: float(row["kl_at_1_sd"]))
    seeds = len(str(worst["seeds"]).split())
    deviation = number(worst["kl_at_1_sd"], 3)
    text = f"Over {count(seeds)} training seeds the standard deviation of KL is at most {deviation} nats"
    spread = [float(row["accepted_mean_sd"]) for row in rows if is_known(row.get("accepted_mean_sd"))]
    return f"{text}, that of accepted tokens {number(max(spread))}." if spread else f"{text}."
