"""Text files in blocks of whole lines, plain or gzipped, with the fast parser of delimited ones.

The fast parser takes only the lines that are certainly well-formed; it leaves every other line
to the careful path (`Layout.split`), which finds out what is wrong with it.
"""

import gzip
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import IO

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline.errors import SourceError
from pipeline.sources.layout import Delimited, Layout, Row
from pipeline.storage import files

BLOCK_BYTES = 16 << 20

Lines = npt.NDArray[np.int64]

_STAND_IN = b"\x1f"  # one byte for a separator of two


@dataclass(frozen=True)
class TextBlock:
    """Whole lines of a text file; every line ends in a newline."""

    content: bytes
    layout: Layout
    dtypes: Mapping[str, pl.DataType]

    @cached_property
    def _skeleton(self) -> bytes:
        """The block with nothing left but what gives it structure."""
        marks = b"\n\r"
        if self.layout.delimited:
            marks += _one_byte(self.layout.delimited) + b'"' * self.layout.delimited.quoted
        return self._plain.translate(None, delete=bytes(set(range(256)) - set(marks)))

    @cached_property
    def _plain(self) -> bytes:
        """The block with single-byte separators and line ends."""
        text = self.content.replace(b"\r\n", b"\n") if b"\r" in self.content else self.content
        form = self.layout.delimited
        if form and len(form.separator) > 1 and _STAND_IN not in text:
            text = text.replace(form.separator, _STAND_IN)
        return text

    @cached_property
    def rows(self) -> int:
        """Number of lines."""
        return self._skeleton.count(b"\n")

    @cached_property
    def _ends(self) -> Lines:
        """Offset just after each line of `content`."""
        return np.flatnonzero(np.frombuffer(self.content, np.uint8) == 10) + 1

    @cached_property
    def _plain_ends(self) -> Lines:
        if len(self._plain) == len(self.content):
            return self._ends
        return np.flatnonzero(np.frombuffer(self._plain, np.uint8) == 10) + 1

    def raw(self, lines: Lines) -> list[bytes]:
        """The bytes of the given lines (from 0), without line ends."""
        ends = self._ends
        spans = zip(
            np.where(lines > 0, ends[lines - 1], 0).tolist(), ends[lines].tolist(), strict=True
        )
        return [self.content[start : end - 1].removesuffix(b"\r") for start, end in spans]

    def split(self, raw: bytes) -> Row:
        """The fields of one line. Raises RowRejectedError."""
        return self.layout.split(raw)

    def fast(self) -> tuple[pl.DataFrame, Lines]:
        """Typed fields of the well-formed lines, and which lines (from 0) they are."""
        form = self.layout.delimited
        doubtful = np.arange(self.rows) if form is None else self._doubtful(form)
        if form is None or len(doubtful) == self.rows:
            return pl.DataFrame(schema=dict(self.dtypes)), np.arange(0)
        if not len(doubtful):
            return self._whole(self._parse(form, self._plain), np.arange(self.rows))
        text, ends = self._plain, self._plain_ends
        starts = np.where(doubtful > 0, ends[doubtful - 1], 0).tolist()
        stops = ends[doubtful].tolist()
        kept = zip([0, *stops], [*starts, len(text)], strict=True)
        good = np.ones(self.rows, dtype=bool)
        good[doubtful] = False
        parsed = self._parse(form, b"".join([text[a:b] for a, b in kept]))
        return self._whole(parsed, np.flatnonzero(good))

    def _whole(self, frame: pl.DataFrame, lines: Lines) -> tuple[pl.DataFrame, Lines]:
        """The frame if it has one row a line, else nothing: the careful path takes them all."""
        return (frame, lines) if len(frame) == len(lines) else (frame.clear(), lines[:0])

    def _doubtful(self, form: Delimited) -> Lines:
        """Lines whose structure, or encoding, is not certainly right."""
        wanted = _one_byte(form) * (form.width - 1) + b"\n"
        regular = self._skeleton == wanted * self.rows
        doubtful = np.arange(0) if regular else _odd_lines(self._skeleton, wanted)
        if form.width == 1 or not self._plain.isascii():
            undecodable = _undecodable_lines(self._plain, self._plain_ends)
            doubtful = np.union1d(doubtful, undecodable)
        return doubtful

    def _parse(self, form: Delimited, text: bytes) -> pl.DataFrame:
        by_position = dict(zip(form.positions, self.layout.fields, strict=True))
        schema = {
            by_position.get(position, f"{_STAND_IN.decode()}{position}"): (
                self.dtypes[by_position[position]] if position in by_position else pl.String()
            )
            for position in range(form.width)
        }
        frame = pl.read_csv(
            text,
            has_header=False,
            schema=schema,
            columns=sorted(form.positions),
            separator=_one_byte(form).decode(),
            quote_char=None,
            ignore_errors=True,
        )
        return frame.select(self.layout.fields)


def _one_byte(form: Delimited) -> bytes:
    return form.separator if len(form.separator) == 1 else _STAND_IN


def _odd_lines(skeleton: bytes, wanted: bytes) -> Lines:
    """Lines of the skeleton that are not exactly `wanted`."""
    marks = np.frombuffer(skeleton, np.uint8)
    ends = np.flatnonzero(marks == 10)
    starts = np.concatenate([[0], ends[:-1] + 1])
    even = np.flatnonzero(ends - starts + 1 == len(wanted))
    odd = np.ones(len(ends), dtype=bool)
    matches = np.ones(len(even), dtype=bool)
    for offset, mark in enumerate(wanted):
        matches &= marks[starts[even] + offset] == mark
    odd[even[matches]] = False
    return np.flatnonzero(odd)


def _undecodable_lines(text: bytes, ends: Lines) -> Lines:
    """Lines that are not UTF-8, and lines without any byte."""
    blank = np.flatnonzero(np.diff(ends, prepend=0) == 1)
    try:
        text.decode()
    except UnicodeDecodeError:
        points = text.decode(errors="surrogateescape").encode("utf-32-le", "surrogatepass")
        characters = np.frombuffer(points, np.uint32)
        escaped = np.flatnonzero((characters >= 0xDC80) & (characters <= 0xDCFF))
        bad = np.searchsorted(np.flatnonzero(characters == 10), escaped)
        return np.union1d(blank, bad)
    return blank


@contextmanager
def open_text(file: str) -> Iterator[IO[bytes]]:
    """The file's bytes, decompressed if its name ends in `.gz`.

    Raises
    ------
    SourceError
        The file cannot be read, or is no whole gzip file (found while reading too).
    """
    try:
        with open_bytes(file) as stream:
            if file.endswith(".gz"):
                with gzip.open(stream) as decompressed:
                    yield decompressed  # type: ignore[misc]
            else:
                yield stream
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise SourceError(
            f"{file}: corrupt or truncated gzip file ({error}); fetch it again"
        ) from None


@contextmanager
def open_bytes(file: str) -> Iterator[IO[bytes]]:
    """The file's bytes as they are. Raises SourceError if it cannot be opened."""
    try:
        store, inner = files.filesystem(file)
        with store.open_input_file(inner) if files.is_remote(file) else open(file, "rb") as stream:
            yield stream
    except OSError as error:
        if isinstance(error, gzip.BadGzipFile):
            raise
        raise SourceError(f"{file}: cannot be read ({error.strerror or error})") from None


def blocks_of(stream: IO[bytes], size: int) -> Iterator[bytes]:
    """Blocks of at least `size` bytes (the last may be smaller), each ending in a newline."""
    while block := stream.read(size):
        if not block.endswith(b"\n"):
            block += stream.readline()
        yield block if block.endswith(b"\n") else block + b"\n"
