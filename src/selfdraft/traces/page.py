"""One page of one or several traces: text, styles and script in one file that asks the network for nothing."""

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from selfdraft.errors import StudyError
from selfdraft.files import read_json
from selfdraft.traces.layout import FORMAT, PHASES

FIGURES = {
    "tokens": ("tokens", "{:.0f}"),
    "cycles": ("target calls", "{:.0f}"),
    "accepted": ("drafted and accepted", "{:.0f}"),
    "accepted_mean": ("accepted per cycle", "{:.2f}"),
    "tokens_per_s": ("tokens/s", "{:.1f}"),
    "speedup": ("over the target alone", "{:.2f} ×"),
    "draft_s": ("drafting", "{:.2f} s"),
    "verify_s": ("verifying", "{:.2f} s"),
}


def page_of(paths: Sequence[str | Path]) -> str:
    """The HTML of the traces in these files, one after the other. Raises StudyError for a file that is no trace."""
    numbers = iter(range(10**9))
    traces = []
    for path in paths:
        trace = read_json(path)
        found = trace.get("selfdraft_trace") if isinstance(trace, dict) else None
        if found != FORMAT:
            raise StudyError(
                f"{path}: selfdraft_trace: found {found!r}, {FORMAT} is right; `generate --trace` writes it"
            )
        try:
            traces.append(_prepared(trace, numbers))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StudyError(f"{path}: not a whole trace ({error!r}); `generate --trace` writes one") from None
    cycles = [
        {key: cycle[key] for key in (*PHASES, "by", "accepted", "shown")} | {"drafted": len(cycle["drafted"])}
        for trace in traces
        for answer in trace["answers"]
        for cycle in answer["cycles"]
    ]
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["visible"] = visible
    template = environment.from_string(files("selfdraft.traces").joinpath("page.html").read_text(encoding="utf-8"))
    # In a script element nothing is escaped, and only `</script` and `<!--` end it or change it.
    data = Markup(json.dumps(cycles, ensure_ascii=False).replace("<", "\\u003c"))
    return template.render(traces=traces, data=data)


def _prepared(trace: Mapping[str, Any], numbers: Any) -> dict[str, Any]:
    """What the template shows of a trace; the cycles of all traces are numbered through."""
    policy, summary = trace["policy"], trace["summary"]
    warps = [f"temperature {policy['temperature']:g}" if policy["temperature"] else "greedy"]
    warps += [f"top-p {policy['top_p']:g}"] if policy["top_p"] < 1 else []
    warps += [f"top-k {policy['top_k']}"] if policy["top_k"] else []
    figures = [(name, form.format(summary[key])) for key, (name, form) in FIGURES.items() if summary[key] is not None]
    kept = {key: trace[key] for key in ("target", "drafter", "gamma", "seed", "dtype", "device", "threads")}
    answers = [
        {
            **{key: answer[key] for key in ("prompt", "prompt_tokens", "tokens")},
            "cycles": [_cycle(cycle, next(numbers)) for cycle in answer["cycles"]],
            "ms": f"{sum(1000 * cycle[phase] for cycle in answer['cycles'] for phase in PHASES):.0f}",
        }
        for answer in trace["answers"]
    ]
    return {**kept, "policy_text": ", ".join(warps), "figures": figures, "answers": answers}


def _cycle(cycle: Mapping[str, Any], number: int) -> dict[str, Any]:
    """A cycle with its tokens in reading order: the refused one, what the target said, and what nobody read."""
    said = [] if cycle["said"] is None else [cycle["said"]]
    read = [token for token in cycle["drafted"] if token["fate"] != "unread"]
    unread = [token for token in cycle["drafted"] if token["fate"] == "unread"]
    for token in (*read, *said, *unread):
        check_token(token)
    ms = f"{1000 * sum(cycle[phase] for phase in PHASES):.1f}"
    return {**cycle, "number": number, "shown": [*read, *said, *unread], "ms": ms}


def check_token(token: Mapping[str, Any]) -> None:
    """Raise KeyError or ValueError for what is no token of a trace: its fate becomes a style's name."""
    if token["fate"] not in ("accepted", "rejected", "unread", "cut", "correction", "bonus"):
        raise ValueError(f"fate {token['fate']!r}")
    _ = token["id"], token["text"], token["p"], token["target"]


def visible(text: str) -> Markup:
    """A token's text with a mark where it would not be seen: a line's end, a tab, or nothing at all."""
    if not text:
        return Markup('<span class="mark">∅</span>')
    lines = Markup('<span class="mark">↵</span>\n').join(text.split("\n"))
    return Markup(lines)
