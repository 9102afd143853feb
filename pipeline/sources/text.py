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

from pipeline import columns as col
from pipeline.errors import SourceError
from pipeline.sources.layout import Delimited, Layout, Row
from pipeline.storage import files

BLOCK_BYTES = 4 << 20

Lines = npt.NDArray[np.int64]

# Column of a fast parse, which may lack it: true where the value is certainly left empty.
ABSENT_VALUE = "\x1fabsent"

_STAND_IN = b"\x1f"  # one byte for a separator of two
_FEW_NULLS = 100  # one null value in so many rows is left to the careful path


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
        return int(np.count_nonzero(self._breaks))

    @cached_property
    def _ends(self) -> Lines:
        """Offset just after each line of `content`."""
        ends: Lines = np.flatnonzero(self._breaks)
        ends += 1
        return ends

    @cached_property
    def _breaks(self) -> npt.NDArray[np.bool_]:
        """True at every line end of `content`."""
        breaks: npt.NDArray[np.bool_] = np.frombuffer(self.content, np.uint8) == 10
        return breaks

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

    def span(self, first: int, last: int) -> bytes:
        """The bytes from one line through another, without the last line's end."""
        start = int(self._ends[first - 1]) if first else 0
        return self.content[start : int(self._ends[last]) - 1].removesuffix(b"\r")

    def split(self, raw: bytes) -> Row:
        """The fields of one line. Raises RowRejectedError."""
        return self.layout.split(raw)

    def fast(self) -> tuple[pl.DataFrame, Lines]:
        """Typed fields of the well-formed lines, and which lines (from 0) they are."""
        form = self.layout.delimited
        if form and len(form.separator) > 1 and _STAND_IN in self.content:
            form = None
        if form is not None and (frame := self._at_once(form)) is not None:
            return frame, np.arange(self.rows)
        doubtful = np.arange(self.rows) if form is None else self._doubtful(form)
        if form is None or len(doubtful) == self.rows:
            return pl.DataFrame(schema=dict(self.dtypes)), np.arange(0)
        text, ends = self._plain, self._plain_ends
        if len(doubtful):
            starts = np.where(doubtful > 0, ends[doubtful - 1], 0).tolist()
            stops = ends[doubtful].tolist()
            kept = zip([0, *stops], [*starts, len(text)], strict=True)
            text = b"".join([text[a:b] for a, b in kept])
        if form.quoted:  # what quotes are left stand around fields that need none
            text = text.translate(None, delete=b'"')
        good = np.ones(self.rows, dtype=bool)
        good[doubtful] = False
        frame, lines = self._parse(form, text), np.flatnonzero(good)
        # A row too few or too many: the careful path takes them all.
        return (frame, lines) if len(frame) == len(lines) else (frame.clear(), lines[:0])

    def _at_once(self, form: Delimited) -> pl.DataFrame | None:
        """The whole block parsed, where that is certainly right; else None.

        No line has too many fields, or the parser would refuse the block; so none has too few
        if there are as many separators as there should be.
        """
        text, separator = self._plain, _one_byte(form)
        if (
            form.width == 1
            or len(form.positions) < form.width  # the parser does not look at the other columns
            or (form.quoted and b'"' in text)
            or b"\r" in text
            or _count(text, separator) != self.rows * (form.width - 1)
            or not text.isascii()
        ):
            return None
        try:
            frame = self._parse(form, text)
        except pl.exceptions.PolarsError:
            return None
        return frame if len(frame) == self.rows else None

    def _doubtful(self, form: Delimited) -> Lines:
        """Lines whose structure, or encoding, is not certainly right."""
        wanted = _one_byte(form) * (form.width - 1) + b"\n"
        skeleton, doubtful = self._skeleton, np.arange(0)
        if form.quoted and b'"' in skeleton:
            doubtful = _misquoted_lines(self._plain, self._plain_ends, _one_byte(form))
            skeleton = skeleton.replace(b'""', b"")
        if skeleton != wanted * self.rows:
            doubtful = np.union1d(doubtful, _odd_lines(skeleton, wanted))
        if form.width == 1 or not self._plain.isascii():
            undecodable = _undecodable_lines(self._plain, self._plain_ends)
            doubtful = np.union1d(doubtful, undecodable)
        return doubtful

    def _parse(self, form: Delimited, text: bytes) -> pl.DataFrame:
        """Typed fields; `ABSENT_VALUE`, where many values are null, tells which are empty."""
        frame = _read(form, text, dict(zip(self.layout.fields, form.positions, strict=True)), self)
        if frame.schema.get(col.VALUE) == pl.Float64:
            nulls = frame[col.VALUE].null_count()
            if _FEW_NULLS * nulls > len(frame):
                at = form.positions[self.layout.fields.index(col.VALUE)]
                texts = _read(form, text, {ABSENT_VALUE: at}, self)
                frame = frame.with_columns(texts.to_series().is_null())
        return frame


def _read(
    form: Delimited, text: bytes, positions: Mapping[str, int], block: TextBlock
) -> pl.DataFrame:
    by_position = {position: name for name, position in positions.items()}
    schema = {
        by_position.get(position, f"{_STAND_IN.decode()}{position}"): block.dtypes.get(
            by_position.get(position, ""), pl.String()
        )
        for position in range(form.width)
    }
    frame = pl.read_csv(
        text,
        has_header=False,
        schema=schema,
        columns=sorted(by_position),
        separator=_one_byte(form).decode(),
        quote_char=None,
        ignore_errors=True,
    )
    return frame.select(list(positions))


def _count(text: bytes, byte: bytes) -> int:
    """Like `text.count(byte)`, four times as fast, and other threads run meanwhile."""
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == byte[0]))


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


def _misquoted_lines(text: bytes, ends: Lines, separator: bytes) -> Lines:
    """Lines with a quote that does not stand at the edge of a field."""
    edge = np.zeros(256, dtype=bool)
    edge[[10, separator[0]]] = True
    marks = np.frombuffer(text, np.uint8)
    quotes = np.flatnonzero(marks == ord('"'))
    opening = edge[marks[quotes - 1]]  # -1, before the first byte, is the last newline
    astray = quotes[~(opening | edge[marks[quotes + 1]])]
    return np.unique(np.searchsorted(ends, astray, side="right"))


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
            if file.lower().endswith(".gz"):
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
        remote = files.is_remote(file)
        opened = store.open_input_file(inner) if remote else open(file, "rb")  # noqa: SIM115
    except OSError as error:
        raise SourceError(f"{file}: cannot be read ({error.strerror or error})") from None
    with opened as stream:
        yield stream


def blocks_of(stream: IO[bytes], size: int) -> Iterator[bytes]:
    """Blocks of at least `size` bytes (-1: all in one), each ending in a newline."""
    while block := stream.read(size):
        if not block.endswith(b"\n"):
            block += stream.readline()
        yield block if block.endswith(b"\n") else block + b"\n"
