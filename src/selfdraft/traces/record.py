"""A trace as JSON: every drafted token with its fate, what the target said, and the time of each cycle."""

from collections.abc import Sequence
from typing import Any

from selfdraft.decoding.loop import Cycle, Timings
from selfdraft.sources.chat import ChatTokenizer
from selfdraft.traces.layout import FORMAT, PHASES
from selfdraft.traces.watching import Candidate, Position, Seen, Watched, best

BESIDE = 8  # tokens that a token's text is read beside
PART = "\ufffd"  # the end of the text of a token that ends within a character


class Recorder:
    """Takes each row's part of each cycle as the loop yields it, with what `watched` has seen of it."""

    def __init__(self, watched: Watched, tokenizer: ChatTokenizer, prompts: Sequence[Sequence[int]]) -> None:
        self.watched, self.tokenizer, self.prompts = watched, tokenizer, prompts
        self.answers: list[dict[str, Any]] = [
            {"prompt_tokens": len(prompt), "tokens": [], "cycles": []} for prompt in prompts
        ]
        self._total = self._lap = (0.0, 0.0, 0.0)

    def add(self, cycle: Cycle, timings: Timings) -> None:
        """Take in a part of the newest cycle; rows of a batch share its times."""
        total = timings.draft_s, timings.verify_s, timings.accept_s
        if total != self._total:
            a, b, c = (now - before for now, before in zip(total, self._total, strict=True))
            self._total, self._lap = total, (a, b, c)
        answer, seen = self.answers[cycle.row], self.watched.rows[cycle.row]
        text = [*self.prompts[cycle.row], *answer["tokens"]][-BESIDE:]
        proposed = [position.id for position in seen.positions]
        answer["cycles"].append(
            {
                "context": seen.context,
                "by": ("model" if seen.by_model else "text") if proposed else None,
                "accepted": cycle.accepted,
                "cut": cycle.cut,
                **dict(zip(PHASES, map(short, self._lap), strict=True)),
                "drafted": [
                    self._drafted([*text, *proposed[:at]], position, fate(at, seen.accepted, len(cycle.tokens)))
                    for at, position in enumerate(seen.positions)
                ],
                "said": self._said(text, cycle, seen),
            }
        )
        answer["tokens"] += cycle.tokens

    def trace(self, prompts: Sequence[str], about: dict[str, Any], summary: dict[str, float | None]) -> dict[str, Any]:
        """The whole trace of answers to these texts; `about` says how they were made."""
        for text, answer in zip(prompts, self.answers, strict=True):
            answer["prompt"] = text
            answer["text"] = self.tokenizer.decode(answer["tokens"])
        figures = {key: None if value is None else short(value) for key, value in summary.items()}
        return {"selfdraft_trace": FORMAT, **about, "summary": figures, "answers": self.answers}

    def _drafted(self, text: list[int], position: Position, what: str) -> dict[str, Any]:
        return {
            **self._token(text, position.id),
            "fate": what,
            "p": short(position.p),
            "q": short(position.q),
            "overlap": short(position.overlap),
            "target": self._list(text, position.target),
            "draft": self._list(text, position.draft),
        }

    def _said(self, text: list[int], cycle: Cycle, seen: Seen) -> dict[str, Any] | None:
        """The token that the target added itself; None if the answer ended before it."""
        if len(cycle.tokens) <= seen.accepted:
            return None
        *before, token = cycle.tokens
        text = [*text, *before]
        what = "correction" if seen.accepted < len(seen.positions) else "bonus"
        listed = self._list(text, best(seen.p, seen.logits))
        return {**self._token(text, token), "fate": what, "p": short(float(seen.p[token])), "target": listed}

    def _list(self, text: list[int], candidates: list[Candidate]) -> list[dict[str, Any]]:
        return [
            {
                **self._token(text, one.id),
                "probability": short(one.probability),
                "plain": None if one.plain is None else short(one.plain),
            }
            for one in candidates
        ]

    def _token(self, text: list[int], token: int) -> dict[str, Any]:
        """A token and its text where it stands; that of an unfinished character stands at its last token."""
        beside = text[-BESIDE:]
        before = self.tokenizer.decode(beside).rstrip(PART)
        return {"id": token, "text": self.tokenizer.decode([*beside, token])[len(before) :]}


def fate(place: int, accepted: int, returned: int) -> str:
    """What became of the draft's token at `place`: `accepted`; `rejected`, the first that was not; `unread`, one behind
    that; `cut`, accepted behind the answer's end."""
    if place < accepted:
        return "accepted" if place < returned else "cut"
    return "rejected" if place == accepted else "unread"


def short(value: float) -> float:
    """Six digits: what a reader can use, in half the bytes."""
    return float(f"{value:.6g}")
