"""Bytes and text of a data file, unpacked while they are read; a packed file that breaks off ends there."""

import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from selfdraft.errors import StudyError
from selfdraft.sources.losses import Losses
from selfdraft.sources.text_encoding import Lines

CHUNK = 1 << 12  # what is fed to a decompressor at once, and lost with it where a file is broken
GZIP = 31  # what zlib calls a gzip header and the largest window
LARGEST_WINDOW = 1 << 31  # bytes; files packed with `zstd --long` need more than the usual 8 MB


def plain_suffix(path: Path) -> str:
    """The kind of a data file, without its packing: `.jsonl` of `a.jsonl.zst`."""
    suffix = path.suffix.lower()
    return (Path(path.stem).suffix if suffix in (".gz", ".zst") else suffix).lower()


def open_bytes(path: Path, losses: Losses) -> IO[bytes]:
    """The unpacked bytes of a plain, .gz or .zst file.

    Where a packed file is cut or broken the stream ends, and `losses` says so. Raises StudyError if
    the file cannot be opened, or nothing here unpacks it.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise StudyError(f"{path}: {error.strerror}") from None
    if path.suffix.lower() == ".gz":
        return io.BufferedReader(Unpacked(file, lambda: zlib.decompressobj(GZIP), losses), CHUNK)
    if path.suffix.lower() == ".zst":
        return io.BufferedReader(Unpacked(file, zstd_decompressor(path), losses), CHUNK)
    return file


@contextmanager
def open_lines(path: Path, losses: Losses) -> Iterator[Lines]:
    """Like `open_bytes`, as lines of text; what had to be guessed is counted in `losses`."""
    with cast(io.BufferedReader, open_bytes(path, losses)) as file:
        yield Lines(file, losses.changed)


def zstd_decompressor(path: Path) -> Callable[[], Any]:
    """What makes a decompressor with `decompress`, `eof` and `unused_data`. Raises StudyError if there is none."""
    try:
        import zstandard
    except ImportError:
        raise StudyError(f"{path}: the Python package zstandard is needed to read .zst files") from None
    return lambda: zstandard.ZstdDecompressor(max_window_size=LARGEST_WINDOW).decompressobj()


class Unpacked(io.RawIOBase):
    """A raw stream over the frames (members) of a packed file, one after the other."""

    def __init__(self, file: IO[bytes], new: Callable[[], Any], losses: Losses) -> None:
        """`new` makes a decompressor for each frame."""
        self.file, self.new, self.losses = file, new, losses
        self.pieces = self.unpack()
        self.rest = memoryview(b"")

    def readable(self) -> bool:
        """Always: it is only read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer with the next unpacked bytes; 0 at the end."""
        while not self.rest:
            piece = next(self.pieces, None)
            if piece is None:
                return 0
            self.rest = memoryview(piece)
        size = min(len(buffer), len(self.rest))
        buffer[:size], self.rest = self.rest[:size], self.rest[size:]
        return size

    def unpack(self) -> Iterator[bytes]:
        """Unpacked pieces to the end, or to where the file is cut or broken."""
        frame, chunk = self.new(), self.file.read(CHUNK)
        while chunk:
            try:
                piece = frame.decompress(chunk)
            except Exception as error:  # zlib.error and zstandard's own
                self.losses.add(f"the packed file is broken ({' '.join(str(error).split())})")
                return
            if piece:
                yield piece
            chunk = frame.unused_data if frame.eof else b""
            chunk = chunk or self.file.read(CHUNK)
            if frame.eof:
                if not chunk.strip(b"\0"):  # some writers pad with zeros
                    return
                frame = self.new()
        self.losses.add("the packed file breaks off")

    def close(self) -> None:
        """Close the packed file too."""
        self.file.close()
        super().close()


def unpack_whole(path: Path, losses: Losses) -> bytes:
    """All unpacked bytes of a file at once."""
    with open_bytes(path, losses) as file:
        return cast(bytes, file.read())
