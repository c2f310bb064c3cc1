"""Values out of JSON as people write it: a list, one in each line, one after the other over several lines each.

What is broken is left out and counted, and reading goes on behind it where its end can be told.
"""

import io
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from typing import Any

from selfdraft.sources.losses import Losses
from selfdraft.sources.readable import whole_pairs
from selfdraft.sources.text_encoding import Lines
from selfdraft.sources.wrappers import lists_of_cut

SPACE = " \t\r\n\v\f\x1e\x85\u2028\u2029"  # also what other programs end lines and records with
LEADING = f",\ufeff{SPACE}"  # what may stand before the first value
BETWEEN = re.compile(f"[{LEADING}]*")
HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")  # also the halves of whole pairs, which are joined when they are read
TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*("?)|[{\[]|[}\]]|[^\s"{}\[\]]+', re.DOTALL)
PARTNER = {"}": "{", "]": "["}
DECODER = json.JSONDecoder(strict=False)  # line ends and tabs inside a text are no reason to lose it
SURROGATES = "half of a surrogate pair replaced"
BEGINS = "{["


def json_values(head: str, lines: Lines, losses: Losses) -> Iterator[Any]:
    """The values of a file whose first characters were read as `head`: of a list, else of objects.

    A list of turns is a value itself, of other lists each element is one.
    """
    if head.lstrip(LEADING).startswith("["):
        return list_values(head + lines.rest(), losses)
    return object_values(chain([head], lines), losses)


def list_values(text: str, losses: Losses) -> Iterator[Any]:
    """The elements of a list, or of several one after the other; where one breaks off the rest is counted as lost."""
    position, count = text.index("[") + 1, 0
    turns: list[Any] | None = None
    fresh = True
    while True:
        position = end_of_gap(text, position)
        if text[position : position + 1] == "]":
            if turns is not None:
                yield turns
            turns, fresh = None, True
            position = end_of_gap(text, position + 1)
            if text[position : position + 1] == "[":
                position += 1
                continue
            rest = text[position:].strip(SPACE)
            if rest.startswith("{"):
                yield from object_values(io.StringIO(text[position:]), losses)
            elif rest:
                losses.add(f"text after the list: {rest[:20]!r}", len(rest))
            return
        try:
            value, end = DECODER.raw_decode(text, position)
            if HALF_PAIR.search(text, position, end):
                value = paired(value, losses)
        except (ValueError, RecursionError) as error:
            behind = end_of_value(text, position)
            if behind is not None and text[position : position + 1] in BEGINS:
                losses.add(f"broken record {count + 1}: {said(error)}", behind - position)
                position = behind
                continue
            lost = len(text) - position
            reason = said(error) if lost else "the list is not closed"
            losses.add(f"broken off after record {count}: {reason}", lost)
            return
        position = end
        if fresh and is_turn(value):
            turns = []
        fresh = False
        count += 1
        if turns is not None:
            turns.append(value)
        else:
            yield value


def object_values(lines: Iterator[str], losses: Losses) -> Iterator[Any]:
    """The value of each line, several of one line, or one that goes over several lines.

    Of an object that is all there is, and is cut or broken in a list of records, those that are whole.
    """
    source = PushedBack(lines)
    lost, broken, first = 0, 0, True
    for line in source:
        text = line.strip(SPACE)
        if not text:
            continue
        try:
            yield decoded_value(text, losses)
            first = False
            continue
        except (ValueError, RecursionError):
            pass
        behind = 0
        for value, end in values_of_line(text, losses):
            yield value
            behind = end
        if rest := text[behind:].strip(LEADING):
            whole, taken = whole_value(rest, source)
            alone, first = first and not behind and source.ended(), False
            try:
                if whole is None:
                    raise ValueError
                yield decoded_value(whole, losses)
            except (ValueError, RecursionError):
                if alone and (found := cut_records("".join([line, *taken]), whole is not None, losses)):
                    yield from found
                    return
                lost, broken = lost + len(rest if whole is None else whole), broken + 1
            if whole is None and taken:
                # Of a broken object over several lines, what stands further right belongs to it.
                source.back(taken)
                lost += skipped(source, len(line) - len(line.lstrip(" \t")))
    if broken:
        losses.add(f"{broken} broken lines", lost)


def cut_records(text: str, closed: bool, losses: Losses) -> Iterator[Any] | None:
    """The records of a broken object that wraps lists of them; None if it wraps none, or is a record itself.

    `closed` says that the object has its end, which is no record's.
    """
    whole, begin = lists_of_cut(text)
    if begin is None:
        return None
    inside = text[begin:].rstrip(SPACE).removesuffix("}") if closed else text[begin:]
    with suppress(ValueError, RecursionError):
        if is_turn(DECODER.raw_decode(inside, end_of_gap(inside, 1))[0]):
            return None
    return chain(*whole, list_values(inside, losses))


def values_of_line(text: str, losses: Losses) -> Iterator[tuple[Any, int]]:
    """Objects and lists that stand one after the other at the beginning of a line, each with where it ends."""
    position = end_of_gap(text, 0)
    while text[position : position + 1] in ("{", "["):
        try:
            value, end = DECODER.raw_decode(text, position)
            if HALF_PAIR.search(text, position, end):
                value = paired(value, losses)
        except (ValueError, RecursionError):
            return
        position = end
        yield value, position
        position = end_of_gap(text, position)


class PushedBack:
    """Lines to go through once, which may be put back."""

    def __init__(self, lines: Iterator[str]) -> None:
        self.lines = lines
        self.waiting: list[str] = []

    def __iter__(self) -> "PushedBack":
        return self

    def __next__(self) -> str:
        return self.waiting.pop() if self.waiting else next(self.lines)

    def ended(self) -> bool:
        """Whether only empty lines are left."""
        for line in self:
            self.back([line])
            if line.strip(SPACE):
                return False
            self.waiting.pop()
        return True

    def back(self, lines: list[str]) -> None:
        """Lines that come next, in their order."""
        self.waiting += reversed(lines)


def whole_value(first: str, source: PushedBack) -> tuple[str | None, list[str]]:
    """The text of a value that begins with `first` and ends in a later line; what is behind it goes back.

    None, with the lines that were taken for it, if it has no end, or cannot be JSON.
    """
    if first[:1] not in ("{", "["):
        return None, []
    scan = Scan()
    taken: list[str] = []
    end, line = scan.feed(first), first
    while end is None and not scan.broken:
        following = next(source, None)
        if following is None:
            return None, taken
        taken.append(following)
        line = following
        end = scan.feed(line)
    if end is None:
        return None, taken
    parts = [first, *taken]
    if line[end:].strip(SPACE):
        source.back([line[end:]])
    parts[-1] = line[:end]
    return "\n".join(part.rstrip("\r\n") for part in parts), taken


def skipped(source: PushedBack, indentation: int) -> int:
    """Characters of the next lines that stand further right than `indentation`, or only close something."""
    lost = 0
    for line in source:
        text = line.strip(SPACE)
        if text and len(line) - len(line.lstrip(" \t")) <= indentation and text.strip("}], "):
            source.back([line])
            break
        lost += len(text)
    return lost


class Scan:
    """Follows brackets and texts through the lines of one value, without decoding it."""

    def __init__(self) -> None:
        self.open: list[str] = []
        self.broken = False
        self.last = ""

    def feed(self, line: str, begin: int = 0) -> int | None:
        """Where in `line` the value ends; None if it goes on, or is `broken`: no JSON goes on like that."""
        for token in TOKEN.finditer(line, begin):
            kind = token[0][0]
            if kind == '"' and not token[1]:
                self.broken = True
                return None
            if kind in '{["' and self.last and self.last in '}]"':
                self.broken = True  # no comma between two values
                return None
            self.last = kind
            if kind in "{[":
                self.open.append(kind)
            elif kind in PARTNER:
                if not self.open or self.open.pop() != PARTNER[kind]:
                    self.broken = True
                    return None
                if not self.open:
                    return token.end()
        return None


def end_of_value(text: str, position: int) -> int | None:
    """Where the object or list at `position` ends, however deep it is; None if it does not."""
    return Scan().feed(text, position)


def end_of_gap(text: str, position: int) -> int:
    """The next position that holds neither space nor comma."""
    gap = BETWEEN.match(text, position)
    return gap.end() if gap else position


def decoded_value(text: str, losses: Losses) -> Any:
    """The one value that `text` is. Raises ValueError or RecursionError."""
    value = DECODER.decode(text)
    return paired(value, losses) if HALF_PAIR.search(text) else value


def paired(value: Any, losses: Losses) -> Any:
    """`value` without half surrogate pairs, counted if there were any."""
    whole = whole_pairs(value)
    losses.changed.update([SURROGATES] * (whole != value))
    return whole


def said(error: Exception) -> str:
    """The decoder's own words, with the place."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} (character {error.pos})"
    return "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())


def is_turn(value: Any) -> bool:
    """Whether a value is one turn of a conversation rather than a record."""
    if not isinstance(value, dict) or {"message_id", "parent_id"} & set(value):
        return False
    return bool({"from", "role"} & set(value)) and bool({"value", "content", "text", "parts"} & set(value))
