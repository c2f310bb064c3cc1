"""A plan as text for a terminal, and as JSON."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from textwrap import wrap
from typing import Any

from selfdraft.plan.costs import CASES
from selfdraft.plan.predict import Amount, Plan

WIDTH = 118  # of the notes below the tables


def duration(seconds: float) -> str:
    """Two or three digits in the unit that suits: 40 s, 12 min, 5.3 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 10 else f"{hours:,.0f} h"


def span(times: Sequence[float]) -> str:
    """Typical, and the range: 5.3 h (2.1 h – 12 h)."""
    low, typical, high = times
    if high == 0:
        return ""
    return (
        duration(typical)
        if duration(low) == duration(high)
        else f"{duration(typical)} ({duration(low)} – {duration(high)})"
    )


def amount_of_bytes(count: float) -> str:
    """Two or three digits in the unit that suits: 56 MB, 1.6 GB, 317 GB."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= 0.95 * scale:
            return f"{count / scale:.1f} {unit}" if count < 9.5 * scale else f"{count / scale:,.0f} {unit}"
    return "0" if count == 0 else "< 1 kB"


def size(found: Sequence[float]) -> str:
    """Bytes; a range where acceptance decides them."""
    low, typical, high = (amount_of_bytes(count) for count in (min(found), found[1], max(found)))
    if max(found) == 0:
        return ""
    return typical if max(found) <= 1.1 * min(found) else f"{typical} ({low} – {high})"


def lines(rows: Iterable[Sequence[str]], left: int = 1) -> list[str]:
    """Columns as wide as they must be, the first `left` to the left; columns without a value below their head go."""
    table = [list(row) for row in rows]
    kept = [n for n in range(len(table[0])) if n < left or any(row[n] for row in table[1:])]
    widths = {n: max(len(row[n]) for row in table) for n in kept}
    made = ["  ".join(row[n].ljust(widths[n]) if n < left else row[n].rjust(widths[n]) for n in kept) for row in table]
    return [line.rstrip() for line in made]


def text(plan: Plan, figures: dict[str, tuple[Amount, Amount]], slots: Sequence[int], title: str) -> str:
    """The whole plan: stages, figures, total, time on the clock, and what is a guess."""
    costs, total = plan.costs, plan.amount()
    gpu, cpu = ("GPU time", "CPU time") if costs.on_gpu else ("time", "")

    def times(amount: Amount) -> tuple[str, str]:
        if costs.on_gpu:
            return span(amount.gpu), span(amount.cpu)
        return span([a + b for a, b in zip(amount.gpu, amount.cpu, strict=True)]), ""

    stages = [["stage", "jobs", "longest job", gpu, cpu, "disk", "from"]]
    grouped: dict[str, list[str]] = {}
    for rule in plan.rules:
        grouped.setdefault("figure_…" if rule.startswith("figure_") else rule, []).append(rule)
    stage_of = {job.rule: job.stage for job in plan.cases["typical"]}
    for name, rules in grouped.items():
        found = plan.amount(rules)
        known = costs.measured.get(stage_of[rules[0]])
        longest = f"≤ {duration(found.longest[-1])}"
        said = f"{known} jobs" if known and known > 1 else "1 job" if known else "guess"
        if stage_of[rules[0]] in costs.start_only:
            said = f"start: {said}"
        stages.append([name, str(found.jobs), longest, *times(found), size(found.disk), said])
    stages.append(["total", str(total.jobs), "", *times(total), size(total.disk), ""])

    parts = [
        title,
        "",
        *lines(stages),
        "(typical, and from best to worst; of the longest job the worst, for its time limit)",
    ]
    if figures:
        head = [["figure", f"alone: {gpu}", cpu, "disk", f"adds: {gpu}", cpu, "disk"]]
        body = [
            [name, *times(alone), size(alone.disk), *times(more), size(more.disk)]
            for name, (alone, more) in figures.items()
        ]
        parts += ["", *lines([*head, *body])]
        parts += ["(adds: beyond what the figures above it need. They share drafts, states and tables.)"]
    parts += [""]
    what = "cores" if costs.shared else "jobs at once"
    for count in slots:
        parts.append(
            f"On the clock with {count} {what if count > 1 else what.replace('s', '', 1)}: {span(plan.wall(count))}"
        )
    parts += ["", *(line for note in notes(plan, slots) for line in wrap(note, WIDTH, subsequent_indent="  "))]
    return "\n".join(parts)


def notes(plan: Plan, slots: Sequence[int]) -> list[str]:
    """What the numbers rest on, a sentence a line."""
    costs = plan.costs
    unmeasured = sorted({job.stage for job in plan.cases["typical"]} - set(costs.measured))
    said = [f"Costs: {costs.name}. {costs.origin}", *costs.assumptions]
    if costs.measured and unmeasured:
        said.append(f"Not measured, but guessed: {', '.join(unmeasured)}.")
    said += [
        "Ranges: at best every drafted token is accepted, at worst none, and no answer ends early; between them "
        "acceptance by depth is assumed to be that of docs/reference. Ways of drafting that stop early count as "
        "if they drafted all gamma tokens.",
        "Not in it: downloads (in results/cache), waiting in a queue, jobs that are repeated.",
    ]
    if scratch := plan.scratch(max(slots, default=1)):
        said.append(f"While drafts train, their states take up to {amount_of_bytes(scratch)} more in results/state.")
    if costs.on_gpu:
        said.append("A draft that several GPUs train is finished sooner; its GPU time is counted as that of one.")
    return said


def as_json(plan: Plan, figures: dict[str, tuple[Amount, Amount]], slots: Sequence[int]) -> dict[str, Any]:
    """The same for programs: seconds and bytes, each [low, typical, high]."""
    costs = plan.costs
    return {
        "costs": {"name": costs.name, "origin": costs.origin, "peaks_from": costs.peaks_from}
        | {"measured": costs.measured, "assumptions": costs.assumptions},
        "cases": list(CASES),
        "rules": {rule: _amount(plan.amount([rule])) for rule in plan.rules},
        "figures": {name: {"alone": _amount(a), "adds": _amount(b)} for name, (a, b) in figures.items()},
        "total": _amount(plan.amount()),
        "wall_s": {str(count): list(plan.wall(count)) for count in slots},
        "notes": notes(plan, slots),
    }


def _amount(amount: Amount) -> dict[str, Any]:
    names = {"jobs": "jobs", "gpu": "gpu_s", "cpu": "cpu_s", "disk": "disk_bytes", "longest": "longest_s"}
    return {names[key]: value for key, value in asdict(amount).items()}
