"""Layouts of delimited text. The formats CSV, MovieLens and RecBole are settings of this one."""

import csv
from collections.abc import Callable, Mapping, Sequence

from pipeline.config import TimeUnit
from pipeline.errors import SourceError
from pipeline.sources import reasons
from pipeline.sources.layout import Delimited, Layout, Row, Spec, check_unique, resolve
from pipeline.sources.reasons import RowRejectedError


def delimited_layout(
    found: Sequence[str],
    defaults: Mapping[str, Sequence[str]],
    spec: Spec,
    file: str,
    *,
    separator: str,
    quoted: bool = False,
    header: bool = False,
    encoding: str = "utf-8",
    time: TimeUnit | None = None,
) -> Layout:
    """Layout of a file whose columns are `found`. Raises SourceError: one is missing, or twice."""
    mapping = resolve(found, defaults, spec, file)
    check_unique(found, mapping.values(), file)
    positions = tuple(found.index(column) for column in mapping.values())
    one_field_a_column = len(set(positions)) == len(positions)
    form = Delimited(separator.encode(), quoted, len(found), positions)
    return Layout(
        fields=tuple(mapping),
        split=_splitter(separator, quoted, len(found), positions, encoding),
        header=header,
        delimited=form if one_field_a_column else None,
        time=time,
    )


def split_header(line: bytes, separator: str, file: str, *, quoted: bool) -> list[str]:
    """Column names of a header line. Raises SourceError if it is none."""
    text = line.decode("utf-8-sig", errors="replace")
    if not quoted or len(separator) > 1:
        return [name.strip() for name in text.split(separator)]
    try:
        return [name.strip() for name in next(csv.reader([text], delimiter=separator), [])]
    except csv.Error:
        raise SourceError(
            f"{file}: its first line is no row of CSV; "
            "check its format, separator and line ends (LF or CR LF)"
        ) from None


def decode(raw: bytes, encoding: str = "utf-8") -> str:
    """The row's text. Raises RowRejectedError(invalid_utf8)."""
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        found = f"byte 0x{raw[error.start]:02x} at {error.start}"
        raise RowRejectedError(reasons.INVALID_UTF8, found) from None


def _splitter(
    separator: str, quoted: bool, width: int, positions: tuple[int, ...], encoding: str
) -> Callable[[bytes], Row]:
    def split(raw: bytes) -> Row:
        text = decode(raw, encoding)
        if not text.strip():
            raise RowRejectedError(reasons.MALFORMED_LINE, "blank line")
        values = _unquote(text, separator) if quoted and '"' in text else text.split(separator)
        if len(values) != width:
            detail = f"{len(values)} columns, expected {width}"
            raise RowRejectedError(reasons.WRONG_COLUMN_COUNT, detail)
        return [values[position] or None for position in positions]

    return split


def _unquote(text: str, separator: str) -> list[str]:
    if len(separator) > 1:  # the csv module takes one character; \x1f stands for the two
        text = text.replace(separator, "\x1f")
        separator = "\x1f"
    try:
        return next(csv.reader([text], delimiter=separator, strict=True))
    except csv.Error as error:
        raise RowRejectedError(reasons.MALFORMED_LINE, f"quoting: {error}") from None
