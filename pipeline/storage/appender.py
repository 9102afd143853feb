"""Append a stream of rows to a table partitioned by `event_date`, in one commit at its end.

Rows wait per date until there are enough of them for a file; memory is bounded by
`BUFFER_ROWS`, however many dates there are. Files of an append that never commits are removed,
or, after a kill, left to vacuum.
"""

import base64
import json
import time
import uuid
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError
from deltalake.schema import Field, PrimitiveType
from deltalake.transaction import AddAction

from pipeline import columns as col
from pipeline.errors import ConflictError
from pipeline.schemas import Table
from pipeline.storage import files
from pipeline.storage.lake import Lake

BUFFER_ROWS = 2_000_000


@dataclass
class PartitionedAppend:
    """One append, from the snapshot on which it rests to its commit."""

    lake: Lake
    table: Table
    snapshot: DeltaTable
    _waiting: dict[date, list[pl.DataFrame]] = field(default_factory=dict)
    _rows: dict[date, int] = field(default_factory=dict)
    _written: list[AddAction] = field(default_factory=list)
    _dates: set[date] = field(default_factory=set)

    def add(self, frame: pl.DataFrame) -> None:
        """Take in rows that are sorted by `event_date`."""
        days = frame[col.EVENT_DATE].to_physical().to_numpy()
        edges = [0, *(np.flatnonzero(np.diff(days)) + 1).tolist(), len(days)]
        rows = frame.drop(col.EVENT_DATE)
        for start, stop in pairwise(edges):
            if stop > start:
                day = frame[start, col.EVENT_DATE]
                self._waiting.setdefault(day, []).append(rows[start:stop])
                self._rows[day] = self._rows.get(day, 0) + stop - start
        if sum(self._rows.values()) > BUFFER_ROWS:
            for day in sorted(self._rows, key=lambda day: -self._rows[day]):
                self._write(day)
                if sum(self._rows.values()) <= BUFFER_ROWS // 2:
                    break

    def finish(self) -> None:
        """Write what still waits. Nothing of it is visible before the commit."""
        for day in sorted(self._rows):
            self._write(day)

    def commit(self, marker: tuple[str, int], extra: tuple[str, ...] = ()) -> int:
        """Commit all files in one step, adding the `extra` String columns that are new.

        Returns
        -------
        int
            The table's version after the commit.

        Raises
        ------
        ConflictError
            Since the snapshot another append committed the same marker or touched the same date.
        """
        markers = [marker, *((f"append:{day.isoformat()}", marker[1]) for day in self._dates)]
        properties = CommitProperties(app_transactions=[Transaction(*m) for m in markers])
        try:
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
        store, _ = files.filesystem(self.lake.root)
        for action in self._written:
            _, inner = files.filesystem(self.lake.path(self.table.name, action.path))
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
        frame = pl.concat(self._waiting.pop(day))
        del self._rows[day]
        folder = f"{col.EVENT_DATE}={day.isoformat()}"
        path = f"{folder}/{uuid.uuid4().hex}.parquet"
        store, inner = files.filesystem(self.lake.path(self.table.name, path))
        store.create_dir(inner.rpartition("/")[0], recursive=True)
        # No column statistics: the columns are high-entropy ids, and dates prune by partition.
        options: dict[str, Any] = {
            "compression": "lz4",
            "statistics": False,
            "metadata": {"ARROW:schema": _plain_schema(frame)},
        }
        if not files.is_remote(self.lake.root):
            frame.write_parquet(inner, **options)
        else:
            with store.open_output_stream(inner) as stream:
                frame.write_parquet(stream, **options)
        self._dates.add(day)
        self._written.append(
            AddAction(
                path=path,
                size=store.get_file_info(inner).size,
                partition_values={col.EVENT_DATE: day.isoformat()},
                modification_time=time.time_ns() // 1_000_000,
                data_change=True,
                stats=json.dumps({"numRecords": len(frame)}),
            )
        )


def _plain_schema(frame: pl.DataFrame) -> str:
    """Arrow schema of the file: text, where the frame holds one repeated value as an Enum."""
    plain = frame.clear().cast({pl.Enum: pl.String, pl.Categorical: pl.String})
    schema = plain.to_arrow(compat_level=pl.CompatLevel.oldest()).schema
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


def _conflict(table: Table, reason: str) -> ConflictError:
    return ConflictError(
        f"{table.name}: another run committed first ({reason}). "
        "Nothing of this run was published; run it again."
    )
