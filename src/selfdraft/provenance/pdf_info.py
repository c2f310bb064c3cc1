"""The document information dictionary of a PDF that keeps it in plain text, as matplotlib's do.

A PDF ends with the offset of its cross-reference table and a trailer; the trailer names the object that
holds the dictionary, the table says where it begins (ISO 32000-1, 7.5 and 14.3.3). Files whose
cross-references are a compressed stream are not read; other programs write those.
"""

import re
from pathlib import Path

from selfdraft.errors import StudyError

SPACE = b"\0\t\n\f\r "
ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f", b"\n": b"", b"\r": b"", b"\r\n": b""}
STRING_PART = re.compile(rb"\\([0-7]{1,3}|\r\n|.)|([()])|[^\\()]+", re.DOTALL)
NAME = re.compile(rb"/([^\0\t\n\f\r ()<>\[\]{}/%]*)")
SECTION = re.compile(rb"(\d+) (\d+)\s*\n")
ENTRY_BYTES = 20


def document_information(data: bytes, path: Path) -> dict[str, str]:
    """The texts of the dictionary by name, {} if the file has none. `path` is for messages.

    Raises StudyError if the file is no PDF, is cut short, or does not hold what its own tables say.
    """
    if not data.startswith(b"%PDF-"):
        raise StudyError(f"{path}: not a PDF, though its name says so")
    end = re.search(rb"startxref\s+(\d+)\s+%%EOF\s*\Z", data)
    if end is None:
        raise StudyError(f"{path}: the PDF is cut short, its end is missing; draw the figure again")
    offset, number, seen = int(end[1]), None, set()
    while offset not in seen:
        seen.add(offset)
        entries, trailer = _section(data, offset, path)
        if number is None:
            info = re.search(rb"/Info\s+(\d+)\s+\d+\s+R", trailer)
            if info is None:
                return {}
            number = int(info[1])
        if number in entries:
            return _texts(data, entries[number], number, path)
        before = re.search(rb"/Prev\s+(\d+)", trailer)
        if before is None:
            break
        offset = int(before[1])
    raise _damaged(path)


def _damaged(path: Path) -> StudyError:
    return StudyError(f"{path}: the PDF is damaged, or not one of matplotlib's; draw the figure again")


def _section(data: bytes, offset: int, path: Path) -> tuple[dict[int, int], bytes]:
    """The cross-reference table at `offset`, object number -> offset, and the trailer after it."""
    start = re.compile(rb"xref\s+").match(data, offset)
    if start is None:
        raise _damaged(path)
    at, entries = start.end(), {}
    while section := SECTION.match(data, at):
        first, count = int(section[1]), int(section[2])
        at = section.end()
        for number in range(first, first + min(count, (len(data) - at) // ENTRY_BYTES)):
            entry = data[at : at + ENTRY_BYTES]
            at += ENTRY_BYTES
            if entry[17:18] == b"n" and entry[:10].isdigit():
                entries[number] = int(entry[:10])
    if not data.startswith(b"trailer", at):
        raise _damaged(path)
    return entries, data[at : data.find(b"startxref", at)]


def _texts(data: bytes, offset: int, number: int, path: Path) -> dict[str, str]:
    """The strings of the dictionary object `number` at `offset`; values that are no strings are left out."""
    begin = re.compile(rb"%d\s+\d+\s+obj\s*<<" % number).match(data, offset)
    if begin is None:
        raise _damaged(path)
    found: dict[str, str] = {}
    at = begin.end()
    while True:
        at = _after_space(data, at)
        if data.startswith(b">>", at):
            return found
        key = NAME.match(data, at)
        if key is None:
            raise _damaged(path)
        at = _after_space(data, key.end())
        if data.startswith(b"(", at):
            value, at = _literal(data, at, path)
        elif hexadecimal := re.compile(rb"<([0-9A-Fa-f\s]*)>").match(data, at):
            digits = b"".join(hexadecimal[1].split())
            value, at = bytes.fromhex((digits + b"0" * (len(digits) % 2)).decode()), hexadecimal.end()
        elif other := (NAME.match(data, at) or re.compile(rb"[^/<>()\[\]]+").match(data, at)):
            at = other.end()
            continue
        else:
            raise _damaged(path)
        found[key[1].decode("latin-1")] = _text(value)


def _after_space(data: bytes, at: int) -> int:
    while data[at : at + 1] and data[at] in SPACE:
        at += 1
    return at


def _literal(data: bytes, at: int, path: Path) -> tuple[bytes, int]:
    """The string in parentheses that begins at `at`, and where it ends."""
    value, depth = b"", 0
    while part := STRING_PART.match(data, at):
        at = part.end()
        escaped, parenthesis = part[1], part[2]
        if escaped is not None:
            value += bytes([int(escaped, 8) & 255]) if escaped.isdigit() else ESCAPES.get(escaped, escaped)
            continue
        depth += {b"(": 1, b")": -1}.get(parenthesis, 0)
        if depth == 0:
            return value, at
        if not (parenthesis == b"(" and depth == 1):
            value += part[0]
    raise _damaged(path)


def _text(value: bytes) -> str:
    """A text string: UTF-16 or UTF-8 with a byte-order mark, else (nearly) Latin-1."""
    if value.startswith(b"\xfe\xff"):
        return value[2:].decode("utf-16-be", errors="replace")
    if value.startswith(b"\xef\xbb\xbf"):
        return value[3:].decode("utf-8", errors="replace")
    return value.decode("latin-1")
