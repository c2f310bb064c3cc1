"""Bytes of a text whose encoding nobody wrote down -> text: UTF-8, UTF-16 and -32 by their marks, else Windows-1252."""

import codecs
import io
from collections import Counter
from collections.abc import Iterator

MARKS = {  # UTF-32's first: they begin as UTF-16's do
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
LOOKED_AT = 64  # bytes by which a text of two or four bytes a character is known
WINDOWS = "read as Windows-1252, not being UTF-8"
UNMARKED = "read as UTF-16 or UTF-32, by its zero bytes"
REPLACED = "broken characters replaced"


def wide_encoding(head: bytes) -> tuple[str | None, bool]:
    """The encoding of a text that begins with `head` if it is UTF-16 or UTF-32, and whether its mark says so."""
    for mark, encoding in MARKS.items():
        if head.startswith(mark):
            return encoding, True
    head = head[:LOOKED_AT]
    for encoding, first in (("utf-32-le", 0), ("utf-32-be", 3)):
        empty = b"".join(head[place::4] for place in range(4) if place != first)
        if len(head) >= 16 and empty.count(0) > 0.85 * len(empty) and head[first::4].count(0) == 0:
            return encoding, False
    for encoding, empty, full in (("utf-16-le", head[1::2], head[::2]), ("utf-16-be", head[::2], head[1::2])):
        if len(head) >= 8 and empty.count(0) > 0.7 * len(empty) and full.count(0) == 0:
            return encoding, False
    return None, False


def decoded(content: bytes, changed: Counter[str]) -> str:
    """The text of bytes that are no UTF-16: what is not UTF-8 is counted in `changed`.

    It is damaged UTF-8, and keeps what is whole of it, if it has more whole characters beyond ASCII than
    broken ones; else it is Windows-1252.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    try:  # surrogate pairs written as two characters, as some data bases do
        paired = content.decode("utf-8-sig", errors="surrogatepass")
    except UnicodeDecodeError:
        pass
    else:
        changed[REPLACED] += 1
        return paired.encode("utf-16-le", errors="surrogatepass").decode("utf-16-le", errors="replace")
    text = content.decode("utf-8-sig", errors="replace")
    foreign = len(text) - len(text.encode("ascii", errors="ignore"))
    broken = text.count("\ufffd") - content.count(b"\xef\xbf\xbd")
    if foreign - broken > broken:
        changed[REPLACED] += 1
        return text
    changed[WINDOWS] += 1
    return content.decode("cp1252", errors="replace")


def whole_text(content: bytes, changed: Counter[str]) -> str:
    """The text of a whole file's bytes."""
    encoding, marked = wide_encoding(content)
    if encoding is None:
        return decoded(content, changed)
    if not marked:
        changed[UNMARKED] += 1
    return content.decode(encoding, errors="replace")


class Lines:
    """The lines of a stream of bytes, each decoded on its own, and all that is left of it as one text.

    Lines end with LF, CRLF or CR, which they keep; a byte order mark before a line goes.
    """

    def __init__(self, stream: io.BufferedReader, changed: Counter[str]) -> None:
        self.changed = changed
        encoding, marked = wide_encoding(stream.peek(LOOKED_AT))
        if encoding is not None and not marked:
            changed[UNMARKED] += 1
        self._stream = stream
        self._waiting: list[str] = []  # parts of a line with lone CRs, the next one last
        self._wide = io.TextIOWrapper(stream, encoding=encoding, errors="replace") if encoding else None

    def __iter__(self) -> Iterator[str]:
        while True:
            while self._waiting:
                yield self._waiting.pop().removeprefix("\ufeff")
            line = (self._wide or self._stream).readline()
            if not line:
                return
            text = line if isinstance(line, str) else decoded(line, self.changed)
            self._waiting = parts_of(text)[::-1]

    def rest(self) -> str:
        """All text that no line was read of yet."""
        read, self._waiting = "".join(reversed(self._waiting)), []
        return read + (self._wide.read() if self._wide else decoded(self._stream.read(), self.changed))


def parts_of(line: str) -> list[str]:
    """A line that ends with LF, cut where CRs end lines."""
    return list(io.StringIO(line, newline=None)) if "\r" in line else [line]
