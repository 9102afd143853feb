"""Parquet logs and catalogues: a file, a folder, or hive folders (`event_date=2024-01-03/`).

A row's number stands for its line; its verbatim form is the JSON of all its columns.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import columns as col
from pipeline.config import SourceConfig, TimeUnit
from pipeline.errors import SourceError
from pipeline.sources import reasons
from pipeline.sources.layout import LOG_NAMES, Layout, Row, Spec, check_unique, resolve
from pipeline.sources.reasons import RowRejectedError
from pipeline.sources.text import ABSENT_VALUE, Lines, open_bytes

BATCH_ROWS = 1 << 18

_NO_CAST = (pl.Binary, pl.Duration)  # these, and nested ones, go to text row by row
_NULL_FOLDER = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class ParquetBlock:
    """Some rows of a Parquet file, with the values of its hive folders."""

    frame: pl.DataFrame
    mapping: Mapping[str, str]
    dtypes: Mapping[str, pl.DataType]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.frame)

    def fast(self) -> tuple[pl.DataFrame, Lines]:
        """Fields cast to their types; a value that does not fit is null, hence not certain."""
        found = [self.frame.schema[column] for column in self.mapping.values()]
        if any(dtype.is_nested() or dtype in _NO_CAST for dtype in found):
            return pl.DataFrame(schema=dict(self.dtypes)), np.arange(0)
        exprs = [
            pl.col(column).cast(self.dtypes[name], strict=False).alias(name)
            for name, column in self.mapping.items()
        ]
        if col.VALUE in self.mapping:
            exprs.append(pl.col(self.mapping[col.VALUE]).is_null().alias(ABSENT_VALUE))
        return self.frame.select(exprs), np.arange(self.rows)

    def raw(self, lines: Lines) -> list[bytes]:
        """The rows as JSON objects."""
        rows = self.frame[lines].iter_rows(named=True)
        return [json.dumps(row, default=_plain, ensure_ascii=False).encode() for row in rows]

    def split(self, raw: bytes) -> Row:
        """The fields of one row, as text. Raises RowRejectedError for bytes that are no text."""
        record = json.loads(raw)
        values = [record[column] for column in self.mapping.values()]
        if any(isinstance(value, dict) and "bytes" in value for value in values):
            raise RowRejectedError(reasons.INVALID_UTF8, "bytes that are no UTF-8")
        return [v if v is None or isinstance(v, str) else json.dumps(v) for v in values]


def open_parquet(file: str, spec: Spec) -> tuple[Layout, Iterator[pl.DataFrame], dict[str, str]]:
    """Layout of a Parquet file, its rows in frames, and our field -> its column.

    Raises
    ------
    SourceError
        It cannot be read as Parquet, a needed column is missing, or two have one name.
    """
    hive = hive_values(file)
    schema = _schema(file)
    check_unique(schema.names, schema.names, file)
    found = [*schema.names, *(key for key in hive if key not in schema.names)]
    mapping = resolve(found, LOG_NAMES if isinstance(spec, SourceConfig) else {}, spec, file)
    time: TimeUnit | None = None
    column = mapping.get(col.EVENT_TIME, "")
    if column in schema.names and pa.types.is_temporal(schema.field(column).type):
        time = "us"
    layout = Layout(fields=tuple(mapping), split=_no_text, time=time)
    ids = {mapping[name] for name in (col.USER_ID, col.ITEM_ID) if name in mapping}
    return layout, _frames(file, hive, ids), mapping


def hive_values(file: str) -> dict[str, str | None]:
    """Column -> its value, as the folders of the file name them (`event_date=2024-01-03/`)."""
    pairs = (part.split("=", 1) for part in file.split("/")[:-1] if "=" in part)
    return {unquote(k): None if v == _NULL_FOLDER else unquote(v) for k, v in pairs}


def _frames(file: str, hive: Mapping[str, str | None], ids: set[str]) -> Iterator[pl.DataFrame]:
    with open_bytes(file) as stream:
        try:
            for batch in pq.ParquetFile(stream).iter_batches(BATCH_ROWS):
                frame = pl.DataFrame(batch)
                frame = frame.with_columns(
                    pl.lit(v, pl.String).alias(k) for k, v in hive.items() if k not in frame.columns
                )
                yield frame.with_columns(
                    *(_id_text(pl.col(name)) for name in ids if frame.schema[name].is_float()),
                    pl.col(pl.Categorical).cast(pl.String),
                    pl.col(pl.Datetime).dt.epoch("us"),
                    pl.col(pl.Date).cast(pl.Datetime("us")).dt.epoch("us"),
                )
        except pa.ArrowException as error:
            raise _unreadable(file, error) from None


def _schema(file: str) -> pa.Schema:
    with open_bytes(file) as stream:
        try:
            return pq.ParquetFile(stream).schema_arrow
        except pa.ArrowException as error:
            raise _unreadable(file, error) from None


def _unreadable(file: str, error: Exception) -> SourceError:
    reason = str(error).splitlines()[0][:200]
    return SourceError(f"{file}: not a whole Parquet file ({reason}); write it again")


def _id_text(column: pl.Expr) -> pl.Expr:
    """Ids that are floats, as text: whole ones as integers. Pandas makes floats beside a null."""
    whole = column.cast(pl.Int64, strict=False)
    return pl.when(whole == column).then(whole.cast(pl.String)).otherwise(column.cast(pl.String))


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"bytes": value.hex()}
    return str(value)


def _no_text(raw: bytes) -> Row:
    raise AssertionError("rows of Parquet are split by their block")
