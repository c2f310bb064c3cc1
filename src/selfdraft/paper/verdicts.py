"""Sentences on speed: what pays, what a cycle costs, how well speed is predicted, what disturbed the runs."""

import numpy as np

from selfdraft.paper.cells import is_known, number, plain
from selfdraft.paper.measured import Measured, Row, is_itself
from selfdraft.paper.tables import best, best_of_methods, widest, without_itself
from selfdraft.paper.wording import code, count, draft, each, listed, method, own, percent, side, timed, times


def of_exits(study: Measured) -> str:
    """Whether an exit pays: of all exits under the usual policy that are not the target itself."""
    rows = own(study)
    points = timed(without_itself(rows[rows["layer"].notna()]))
    fastest = best(points)
    if fastest is None:
        return "The speed of exits was not measured."
    name = f"{draft(fastest)}, {_how(study, fastest)}"
    paying = sum(side(row) > 0 for row in points)
    losing = sum(side(row) < 0 for row in points)
    if paying:
        return (
            f"Of {count(len(points))} measured ways to draft with an exit {count(paying)} {_pays(paying)}: the "
            f"fastest, {name}, reaches {times(fastest)} times the speed of vanilla decoding."
        )
    if losing == len(points):
        return (
            f"No exit pays: {each(len(points), 'measured way')} to draft with one is slower than vanilla "
            f"decoding. The fastest, {name}, reaches {times(fastest)} times its speed."
        )
    return (
        f"No exit clearly pays: of {count(len(points))} measured ways to draft with one, none has an interval above "
        f"the speed of vanilla decoding. The fastest, {name}, reaches {times(fastest)} times that speed."
    )


def _pays(found: int) -> str:
    return "pays" if found == 1 else "pay"


def _how(study: Measured, row: Row) -> str:
    way = "" if row["drafting"] == study.usual["drafting"] else f", drafting {code(row['drafting'])}"
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
            kind, f"The drafter {code(drafter)}"
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
        f"The fastest of {count(len(found))} methods, {method(study, first)}, {verdict} ({times(first)} times its "
        f"speed); {count(paying)} of them in all {'is' if paying == 1 else 'are'} clearly faster."
    )


def of_itself(study: Measured) -> str:
    """How fast the exit at the last layer is, at which a draft is the target itself."""
    rows = [row for row in timed(own(study)) if is_itself(row) and is_known(row["layer"])]
    if not rows:
        return ""
    top = max(rows, key=lambda row: float(row["speedup"]))
    return (
        f"At the last layer (layer {plain(top['layer'])}) the draft is the target itself, everything is accepted, and "
        f"the method can at most break even: it reaches {times(top)}."
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
    drafting, verify = float(row["draft_ms"]), float(row["verify_ms"])
    vanilla = 1000 / float(row["vanilla_tps"])
    needed = (drafting + verify) / vanilla - 1
    gets = float(row["accepted_mean"])
    verdict = "which it exceeds" if gets > needed else "which it does not reach"
    if needed <= 0:
        verdict, needed = "and a cycle is cheaper than one vanilla step in any case", 0.0
    return (
        f"A cycle of the exit that is accepted most ({draft(row)}, draft length {plain(row['gamma'])}) takes "
        f"{number(drafting, 1)} ms to draft and {number(verify, 1)} ms to verify, against {number(vanilla, 1)} ms for "
        f"a token of vanilla decoding: draft and verification alone are paid for from {number(needed)} accepted tokens "
        f"a cycle on, {verdict} with {number(gets)}."
    )


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
            f"No other way of drafting is faster than one of fixed length ({draft(base)}, {times(base)}): the best of "
            f"{listed(code(row['drafting']) for row in others)} reaches {times(best(others) or base)}."
        )
    text = listed(f"{code(row['drafting'])} ({times(row)})" for row in faster)
    end = ""
    if side(faster[0]) < 0:
        end = " None of them makes it pay."
    elif side(faster[0]) > 0 >= side(base):
        end = " The first makes an exit pay that does not at fixed length."
    return f"Faster than drafts of fixed length ({draft(base)}, {times(base)}) are {text}.{end}"


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
        text += f" {count(above).capitalize()} of them {_lies(above)} above what acceptance allows"
        return f"{text}, and should be timed again."
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
        f"Other work on the machine disturbed {percent(mean)} of the timed runs, {percent(worst['disturbed'])} at the "
        f"worst point ({method(study, worst)})."
    )
