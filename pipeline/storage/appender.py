"""Append a stream of rows to a table partitioned by `event_date`, in one commit at its end.

Rows wait per date until there are enough of them for a file, which threads write while the caller
reads on; memory is bounded by `BUFFER_ROWS`, however many dates there are. Files of an append
that never commits are removed, or, after a kill, left to vacuum.
"""

import json
import time
import uuid
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError
from deltalake.schema import Field, PrimitiveType
from deltalake.transaction import AddAction
from pyarrow import fs

from pipeline import columns as col
from pipeline.errors import ConflictError
from pipeline.schemas import Table
from pipeline.storage import files
from pipeline.storage.lake import Lake, noticing_an_erasure

BUFFER_ROWS = 2_000_000

_WRITERS = 2
# So many rows that stand in no order are sorted at once: every sort adds a piece to every date.
_SORTED_ROWS = 1 << 19
# Values that the Parquet encoder takes at a time: few calls, and the values stay in the cache.
_ENCODED_ROWS = 1 << 16
# A date that a log in time order has left behind makes a file at once, if it has these rows.
_PASSED_ROWS = 1 << 13
# High-entropy columns: a dictionary of them costs more time than it saves bytes.
_NO_DICTIONARY = (col.INTERACTION_ID, col.USER_ID, col.ITEM_ID, col.EVENT_TIME)


@dataclass
class PartitionedAppend:
    """One append, from the snapshot on which it rests to its commit.

    `constants` are text columns with one value in every row; frames come without them.
    """

    lake: Lake
    table: Table
    snapshot: DeltaTable
    constants: Mapping[str, str] = field(default_factory=dict)
    _loose: list[pl.DataFrame] = field(default_factory=list)
    _waiting: dict[date, list[pl.DataFrame]] = field(default_factory=dict)
    _rows: dict[date, int] = field(default_factory=dict)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(_WRITERS))
    _writing: deque[tuple[int, Future[AddAction]]] = field(default_factory=deque)
    _written: list[AddAction] = field(default_factory=list)
    _paths: list[str] = field(default_factory=list)
    _dates: set[date] = field(default_factory=set)

    def add(self, frame: pl.DataFrame) -> None:
        """Take in rows, best in the order of `event_date`."""
        if frame.is_empty():
            return
        in_order = not self._loose and frame[col.EVENT_DATE].is_sorted()
        self._loose.append(frame)
        if in_order or sum(map(len, self._loose)) >= _SORTED_ROWS:
            self._part()

    def _part(self) -> None:
        """Part the rows taken in by date; write dates that are complete, or too much to hold."""
        frame = pl.concat(self._loose)
        self._loose.clear()
        if not frame[col.EVENT_DATE].is_sorted():
            frame = frame.sort(col.EVENT_DATE, maintain_order=True)
        days = frame[col.EVENT_DATE].to_physical().to_numpy()
        edges = [0, *(np.flatnonzero(np.diff(days)) + 1).tolist(), len(days)]
        for start, stop in pairwise(edges):
            day = frame[start, col.EVENT_DATE]
            self._waiting.setdefault(day, []).append(frame[start:stop])
            self._rows[day] = self._rows.get(day, 0) + stop - start
        first = frame[0, col.EVENT_DATE]
        for day in sorted(d for d, n in self._rows.items() if d < first and n >= _PASSED_ROWS):
            self._write(day)
        if sum(self._rows.values()) > BUFFER_ROWS:
            for day in sorted(self._rows, key=lambda day: -self._rows[day]):
                self._write(day)
                if sum(self._rows.values()) <= BUFFER_ROWS // 2:
                    break

    def finish(self) -> None:
        """Write what still waits. Nothing of it is visible before the commit."""
        if self._loose:
            self._part()
        for day in sorted(self._rows):
            self._write(day)
        self._settle(0)
        self._pool.shutdown()

    def commit(self, *markers: tuple[str, int], extra: tuple[str, ...] = ()) -> int:
        """Commit all files and markers in one step, with the `extra` String columns that are new.

        Returns
        -------
        int
            The table's version after the commit.

        Raises
        ------
        ConflictError
            Since the snapshot another append committed the same marker or touched the same date.
        """
        dates = [(f"append:{day.isoformat()}", markers[0][1]) for day in self._dates]
        transactions = [Transaction(*marker) for marker in (*markers, *dates)]
        properties = CommitProperties(app_transactions=transactions)
        try:
            with noticing_an_erasure():
                self._evolve(extra)
                self.snapshot.create_write_transaction(
                    self._written,  # type: ignore[arg-type]
                    mode="append",
                    schema=self.snapshot.schema(),
                    partition_by=[col.EVENT_DATE],
                    commit_properties=properties,
                )
        except CommitFailedError as error:
            raise _conflict(self.table, str(error).splitlines()[0]) from None
        return self.snapshot.version()

    def discard(self) -> None:
        """Remove the files written: the append will not be committed."""
        self._pool.shutdown(cancel_futures=True)
        for path in self._paths:
            store, inner = files.filesystem(path)
            if store.get_file_info(inner).type == fs.FileType.File:
                store.delete_file(inner)

    def _evolve(self, extra: tuple[str, ...]) -> None:
        known = {f.name for f in self.snapshot.schema().fields}
        new = [Field(name, PrimitiveType("string")) for name in extra if name not in known]
        if new:
            before = self.snapshot.version()
            self.snapshot.alter.add_columns(new)
            self.snapshot.update_incremental()
            if self.snapshot.version() != before + 1:
                raise _conflict(self.table, "while a column was added")

    def _write(self, day: date) -> None:
        """Hand a date's rows to the writers, once they hold few enough others."""
        frames, rows = self._waiting.pop(day), self._rows.pop(day)
        self._settle(BUFFER_ROWS // 2)
        self._dates.add(day)
        path = f"{col.EVENT_DATE}={day.isoformat()}/{uuid.uuid4().hex}.parquet"
        self._paths.append(self.lake.path(self.table.name, path))
        self._writing.append((rows, self._pool.submit(self._write_file, day, path, frames)))

    def _settle(self, rows: int) -> None:
        """Wait until the writers hold at most `rows`. Raises what they raised."""
        while self._writing and sum(waiting for waiting, _ in self._writing) > rows:
            self._written.append(self._writing.popleft()[1].result())

    def _write_file(self, day: date, path: str, frames: list[pl.DataFrame]) -> AddAction:
        table = _arrow(pl.concat(frames), self.constants)
        target = self.lake.path(self.table.name, path)
        store, inner = files.filesystem(target)
        with files.in_one_line(target):
            store.create_dir(inner.rpartition("/")[0], recursive=True)
            # No column statistics: the columns are high-entropy ids, and dates prune by partition.
            pq.write_table(
                table,
                inner,
                filesystem=store,
                compression="lz4",
                write_statistics=False,
                store_schema=False,
                write_batch_size=_ENCODED_ROWS,
                use_dictionary=[name for name in table.column_names if name not in _NO_DICTIONARY],
                column_encoding={col.EVENT_TIME: "DELTA_BINARY_PACKED"},
            )
        return AddAction(
            path=path,
            size=store.get_file_info(inner).size,
            partition_values={col.EVENT_DATE: day.isoformat()},
            modification_time=time.time_ns() // 1_000_000,
            data_change=True,
            stats=json.dumps({"numRecords": len(table)}),
        )


def _arrow(frame: pl.DataFrame, constants: Mapping[str, str]) -> pa.Table:
    """The frame with its constants, without its date; text without a value takes no memory.

    A column in which nothing is null says so: encoding a null or not for each value is a sixth
    of the cost of a file. The table's own schema, which readers go by, lets all be null.
    """
    empty = [
        name
        for name, dtype in frame.schema.items()
        if dtype == pl.String and frame[name].null_count() == len(frame)
    ]
    # Views, as they lie in polars: copying the text into Arrow's older form would cost a pass.
    table = frame.drop(col.EVENT_DATE, *empty).to_arrow(compat_level=pl.CompatLevel.newest())
    for name in (*empty, *constants):
        codes = pa.nulls(len(frame), pa.int8()) if name in empty else np.zeros(len(frame), np.int8)
        text = pa.array([constants.get(name, "")])
        table = table.append_column(name, pa.DictionaryArray.from_arrays(codes, text))
    fields = [
        field.with_nullable(column.null_count > 0)
        for field, column in zip(table.schema, table.columns, strict=True)
    ]
    return pa.Table.from_arrays(table.columns, schema=pa.schema(fields))


def _conflict(table: Table, reason: str) -> ConflictError:
    return ConflictError(
        f"{table.name}: another run committed first ({reason}). "
        "Nothing of this run was published; run it again."
    )
