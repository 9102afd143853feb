"""The files of one export, which rows are added to. The same rows give the same bytes."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import polars as pl
import polars.selectors as cs
import pyarrow.parquet as pq


class Files:
    """Files below `folder`, opened when their first rows come; `rows` counts what each has."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: dict[str, int] = {}
        self._stack = ExitStack()
        self._texts: dict[str, BinaryIO] = {}
        self._tables: dict[str, pq.ParquetWriter] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._stack.close()

    def add_text(
        self,
        path: str,
        frame: pl.DataFrame,
        *,
        separator: str = ",",
        header: Sequence[str] | None = None,
    ) -> None:
        """Add lines below a header (default: the columns' names); times as ISO 8601, UTC.

        A field is quoted where it holds a separator, a quote or a line break.
        """
        if path not in self._texts:
            self._texts[path] = self._stack.enter_context(self._path(path).open("wb"))
            names = frame.columns if header is None else header
            self._texts[path].write(f"{separator.join(names)}\n".encode())
        shown = frame.with_columns(cs.datetime().dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"))
        shown.write_csv(self._texts[path], separator=separator, include_header=False)
        self._count(path, frame)

    def add_table(self, path: str, frame: pl.DataFrame) -> None:
        """Add a row group, or more, to a Parquet file."""
        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
        if path not in self._tables:
            writer = pq.ParquetWriter(self._path(path), table.schema, compression="zstd")
            self._tables[path] = self._stack.enter_context(writer)
        self._tables[path].write_table(table)
        self._count(path, frame)

    def add_bytes(self, path: str, content: bytes, rows: int | None = None) -> None:
        """A whole file; with `rows`, they are counted."""
        self._path(path).write_bytes(content)
        if rows is not None:
            self.rows[path] = rows

    def _path(self, path: str) -> Path:
        found = self.folder / path
        found.parent.mkdir(parents=True, exist_ok=True)
        return found

    def _count(self, path: str, frame: pl.DataFrame) -> None:
        self.rows[path] = self.rows.get(path, 0) + frame.height
