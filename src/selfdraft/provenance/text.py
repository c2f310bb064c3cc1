"""The facts of `describe` as lines for people."""

from collections.abc import Iterator, Mapping
from typing import Any

from selfdraft.provenance.checkout import in_words

Facts = Mapping[str, Any]
FEW = 8  # different values of a setting that are told one by one


def in_lines(facts: Facts, indent: str = "") -> Iterator[str]:
    """`file: kind`, then a line for each fact; a study's or checkpoint's own facts are indented."""
    if "file" in facts:
        yield f"{indent}{facts['file']}: {facts['kind']}"
        indent += "  "
    width = max((len(_label(key)) for key in facts), default=0)

    def line(label: str, text: str) -> str:
        return f"{indent}{label:{width}}  {text}".rstrip()

    for key, value in facts.items():
        if key in ("file", "kind") or value == []:
            continue
        if key == "commits":
            for name, answer in value.items():
                words = in_words(name, answer)
                yield line("commit", f"{name} ({words})" if words else name)
        elif key == "tables" and isinstance(value, Mapping):
            for name, table in value.items():
                where = f"found as {table['found']}" if table["found"] else "no such table beside the figure"
                yield line("table", f"{name}, sha256 {table['sha256']}, {where}")
        elif key == "durations":
            for rule, ran in value.items():
                yield line("duration", f"{rule}: {jobs_in_words(ran)}")
        elif key == "checkpoints" and isinstance(value, Mapping):
            for name, own in value.items():
                yield line("checkpoint", name)
                yield from in_lines(own, indent + "  ")
        elif key == "dirty":
            yield line("dirty", {True: "yes, files differed from the commit", False: "no"}.get(value, "not known"))
        elif key == "duration":
            yield line("duration", jobs_in_words({"jobs": 1, **value}))
        elif key == "study":
            yield line("study", "")
            yield from in_lines(value, indent + "  ")
        else:
            yield line(_label(key), in_text(value))


def _label(key: str) -> str:
    return {"commits": "commit", "durations": "duration", "max_rss_mb": "memory"}.get(key, key).replace("_", " ")


def in_text(value: Any) -> str:
    """A fact in one line: a mapping as `key value, …`, a list as `a, b, …`."""
    if isinstance(value, Mapping):
        parts = (
            f"{_label(key)} ({in_text(inner)})" if isinstance(inner, Mapping) else f"{_label(key)} {in_text(inner)}"
            for key, inner in value.items()
        )
        return ", ".join(parts) or "none"
    if isinstance(value, list):
        texts = [in_text(entry) for entry in value]
        return "/".join(texts) if len(texts) <= FEW else f"({len(texts)} different)"
    return (
        "none" if value is None or value == "" else "yes" if value is True else "no" if value is False else str(value)
    )


def jobs_in_words(ran: Facts) -> str:
    """`14 jobs, 312 s together, 30 s the longest, up to 1492 MB`."""
    count = "1 job" if ran["jobs"] == 1 else f"{ran['jobs']} jobs"
    longest = "" if ran["jobs"] == 1 else f" together, {ran['longest_s']:.0f} s the longest"
    memory = "" if ran["max_rss_mb"] is None else f", up to {ran['max_rss_mb']:.0f} MB"
    return f"{count}, {ran['seconds']:.0f} s{longest}{memory}"
