"""Rejected rows of one file on their way to `quarantine`: kept aside, then committed once.

They wait in memory up to `MEMORY_BYTES` and beyond that in a temporary folder.
"""

import tempfile
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa

from pipeline import columns as col
from pipeline.schemas import QUARANTINE
from pipeline.sources.times import to_micros
from pipeline.storage.lake import Lake, conform

MEMORY_BYTES = 64 << 20


class Quarantine:
    """The rejected rows of one file.

    Its marker's number is the clock by which the rows were judged: a run that was killed after
    the quarantine was committed is completed by the same clock, so that no row changes sides.
    """

    def __init__(self, lake: Lake, marker: str, file: str, run_id: str, now: datetime) -> None:
        self._lake, self._marker = lake, marker
        self._version = lake.version(QUARANTINE)
        committed = lake.marker(QUARANTINE, marker, self._version)
        self._committed = committed is not None
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        self.judged_at = now if committed is None else epoch + timedelta(microseconds=committed)
        self.reasons: Counter[str] = Counter()
        self._stamps = [
            pl.lit(self.judged_at.astimezone(UTC).date()).alias(col.INGEST_DATE),
            pl.lit(file).alias(col.SOURCE_FILE),
            pl.lit(run_id).alias(col.RUN_ID),
        ]
        self._frames: list[pl.DataFrame] = []
        self._bytes = 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._spilled: list[Path] = []

    def add(self, rejected: pl.DataFrame, offset: int) -> None:
        """Take in rejected rows; `offset` is added to their line numbers."""
        if rejected.is_empty():
            return
        self.reasons.update(rejected[col.REASON].to_list())
        if self._committed:
            return
        self._frames.append(rejected.with_columns(pl.col(col.LINE) + offset))
        self._bytes += int(rejected.estimated_size())
        if self._bytes > MEMORY_BYTES:
            self._spill()

    def commit(self) -> dict[str, int]:
        """Append the rows in one commit, unless an earlier run did, or there are none.

        Returns
        -------
        dict
            The table's name and its version after the commit.

        Raises
        ------
        ConflictError
            Another run committed the same file's rows at the same time.
        """
        if not self._committed and self.reasons:
            schema = conform(pl.DataFrame(), QUARANTINE).to_arrow().schema
            reader = pa.RecordBatchReader.from_batches(schema, self._batches())
            marker = (self._marker, to_micros(self.judged_at))
            self._lake.append(QUARANTINE, reader, marker, since=self._version, merge_schema=True)
        return {QUARANTINE.name: self._lake.version(QUARANTINE)}

    def close(self) -> None:
        """Remove the temporary folder."""
        if self._folder is not None:
            self._folder.cleanup()

    def _spill(self) -> None:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="iadsr-quarantine-")
        path = Path(self._folder.name) / f"{len(self._spilled)}.arrow"
        self._waiting().write_ipc(path)
        self._spilled.append(path)
        self._frames, self._bytes = [], 0

    def _batches(self) -> Iterator[pa.RecordBatch]:
        for path in self._spilled:
            yield from pl.read_ipc(path).to_arrow().to_batches()
        if self._frames:
            yield from self._waiting().to_arrow().to_batches()

    def _waiting(self) -> pl.DataFrame:
        """The rows in memory, stamped."""
        return conform(pl.concat(self._frames).with_columns(self._stamps), QUARANTINE)
