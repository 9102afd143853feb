"""The lake's Delta tables: create, read at a version, append once, replace one date atomically.

A write carries a *marker* (Delta's `txn` action): key -> 60-bit number, committed in the same
atomic step as the data. Markers make ingest exactly-once (key: the file) and tell which run last
published a date (key: the date), also where the date has no rows.
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from pipeline import columns as col
from pipeline.errors import ConflictError, GoneError, StoreError, UserError
from pipeline.schemas import Table
from pipeline.storage import files
from pipeline.storage.sql import literal

# What the library says where the log that a snapshot rests on has gone.
_BEGUN_ANEW = re.compile(
    r"^Invalid table version|No files in log segment"
    r"|not found.*_delta_log/\d{20}\.json|_delta_log/\d{20}\.json.* not found"
)


@dataclass(frozen=True)
class Lake:
    """Tables and files below one root: a local folder or `s3://bucket/prefix`."""

    root: str

    def __post_init__(self) -> None:
        _refuse_unreadable(self.root)

    def path(self, *parts: str) -> str:
        """Path or URI below the root."""
        return files.join(self.root, *parts)

    def open(self, table: Table, version: int | None = None) -> DeltaTable:
        """The Delta table, created empty if it is not there yet."""
        uri, options = self.path(table.name), _storage_options(self.root)
        with files.in_one_line(uri):
            try:
                return _Snapshot(uri, version=version, storage_options=options)
            except DeltaError as error:
                if "_last_checkpoint" in str(error):
                    raise StoreError(
                        f"{uri}: a checkpoint of its log is gone: restore "
                        f"_delta_log/*.checkpoint.parquet, or delete {uri}/_delta_log/"
                        "_last_checkpoint (enough, unless an erasure has begun the log anew)"
                    ) from None
                if not isinstance(error, TableNotFoundError):
                    raise
                if version and DeltaTable.is_deltatable(uri, options):
                    raise GoneError(
                        f"version {version} of {table.name} in {self.root} can no longer be read: "
                        "a person who stood in it has been erased since (run the date again)"
                    ) from None
                DeltaTable.create(
                    uri,
                    schema=table.schema,
                    partition_by=[table.partition_by] if table.partition_by else None,
                    mode="ignore",
                    storage_options=options,
                )
                return _Snapshot(uri, storage_options=options)

    def version(self, table: Table) -> int:
        """Number of the table's newest snapshot."""
        return self.open(table).version()

    def scan(self, table: Table, version: int | None = None) -> pl.LazyFrame:
        """Lazy frame over one snapshot (default: the newest)."""
        return pl.scan_delta(self.open(table, version))

    def partition_rows(self, table: Table, version: int | None = None) -> dict[Any, int]:
        """Partition value -> number of rows, from the snapshot's metadata alone."""
        sizes = self.partition_sizes(table, version)
        return {value: rows for value, (rows, _) in sizes.items()}

    def partition_sizes(
        self, table: Table, version: int | None = None
    ) -> dict[Any, tuple[int, int]]:
        """Partition value -> rows and bytes, from the snapshot's metadata alone."""
        actions = _add_actions(self.open(table, version))
        key = f"partition.{table.partition_by}"
        if actions.is_empty():
            return {}
        counted = actions.group_by(key).agg(pl.col("num_records", "size_bytes").sum()).sort(key)
        return {value: (rows, size) for value, rows, size in counted.iter_rows()}

    def partition_files(self, table: Table, version: int | None = None) -> dict[Any, list[str]]:
        """Partition value (None: no partitions) -> sorted full paths of its data files."""
        snapshot = self.open(table, version)
        actions = _add_actions(snapshot)
        found: dict[Any, list[str]] = {}
        for row in actions.iter_rows(named=True):
            value = row[f"partition.{table.partition_by}"] if table.partition_by else None
            found.setdefault(value, []).append(self.path(table.name, row["path"]))
        return {value: sorted(paths) for value, paths in found.items()}

    def size(self, table: Table) -> tuple[int, int]:
        """Rows and bytes of the newest snapshot, from its metadata alone."""
        actions = _add_actions(self.open(table))
        if actions.is_empty():
            return 0, 0
        return int(actions["num_records"].sum()), int(actions["size_bytes"].sum())

    def marker(self, table: Table, key: str, version: int | None = None) -> int | None:
        """The number last committed under `key`, or None."""
        return self.open(table, version).transaction_version(key)

    def append(
        self,
        table: Table,
        data: pl.DataFrame | pa.Table | pa.RecordBatchReader,
        marker: tuple[str, int] | None = None,
        *,
        since: int | None = None,
        merge_schema: bool = False,
    ) -> None:
        """Add rows in one commit.

        Raises
        ------
        ConflictError
            Another process committed the same marker at the same time, or after version `since`
            where that is given (what the caller knows of the table).
        """
        markers = [marker] if marker else []
        self._write(table, data, *markers, mode="append", since=since, merge_schema=merge_schema)

    def replace_date(
        self,
        table: Table,
        day: date,
        frame: pl.DataFrame,
        *markers: tuple[str, int],
        since: int | None = None,
    ) -> None:
        """Put `frame` in place of all rows of one `event_date`, in one commit.

        Raises
        ------
        ConflictError
            Another process changed the same date at the same time, or after version `since`
            where that is given.
        """
        predicate = f"{col.EVENT_DATE} = '{day.isoformat()}'"
        self._write(
            table,
            frame,
            *markers,
            mode="overwrite",
            predicate=predicate,
            since=since,
            merge_schema=True,
        )

    def replace_all(
        self,
        table: Table,
        frame: pl.DataFrame,
        marker: tuple[str, int] | None = None,
        *,
        since: int | None = None,
    ) -> None:
        """Put `frame` in place of the whole table, in one commit.

        Raises
        ------
        ConflictError
            Another process replaced the table at the same time, or after version `since`
            where that is given (what the caller knows of the table).
        """
        markers = [marker] if marker else []
        self._write(table, frame, *markers, mode="overwrite", since=since, alone=True)

    def delete_partition(self, table: Table, value: str, marker: tuple[str, int]) -> None:
        """Remove all rows of one partition, in one commit of metadata: no file is rewritten.

        Raises
        ------
        ConflictError
            Another process added to the partition, or committed the marker, at the same time.
        """
        predicate = f"{table.partition_by} = {literal(value)}"
        with self._committing(table, marker):
            self.open(table).delete(
                predicate,
                commit_properties=CommitProperties(app_transactions=[Transaction(*marker)]),
            )

    def set_property(self, table: Table, name: str, value: str) -> None:
        """Set a property of the table: every commit that rests on an earlier snapshot fails.

        Raises ConflictError: another process changed the table's metadata at the same time.
        """
        with self._committing(table):
            self.open(table).alter.set_table_properties({name: value}, raise_if_not_exists=False)

    def _write(
        self,
        table: Table,
        data: Any,
        *markers: tuple[str, int],
        mode: Any,
        predicate: str | None = None,
        since: int | None = None,
        merge_schema: bool = False,
        alone: bool = False,
    ) -> None:
        transactions = [Transaction(*marker) for marker in markers]
        if alone:  # all such writes share a key, so that two at once conflict, even on no rows
            transactions.append(Transaction("replace_all", 1))
        with self._committing(table, *markers):
            write_deltalake(
                self.open(table, since),
                data,
                mode=mode,
                predicate=predicate,
                schema_mode="merge" if merge_schema else None,
                commit_properties=CommitProperties(app_transactions=transactions),
            )

    @contextmanager
    def _committing(self, table: Table, *markers: tuple[str, int]) -> Iterator[None]:
        """Turn a lost race into a ConflictError, and what the store fails at into one line."""
        try:
            with files.in_one_line(self.path(table.name)), noticing_an_erasure():
                yield
        except (CommitFailedError, GoneError) as error:
            reason = str(error).splitlines()[0]
            subject = f"{table.name} ({markers[0][0]})" if markers else table.name
            raise ConflictError(
                f"{subject}: another run committed first ({reason}). "
                "Nothing of this run was published; run it again."
            ) from None


@contextmanager
def noticing_an_erasure() -> Iterator[None]:
    """A commit on a snapshot from before the log began anew is a lost race, and no fault."""
    try:
        yield
    except CommitFailedError:
        raise
    except DeltaError as error:
        if not _BEGUN_ANEW.search(str(error)):
            raise
        raise CommitFailedError("a person was erased meanwhile") from None


def correction_key(day: date) -> str:
    """Key of the marker that says which run last corrected accepted interactions of a date."""
    return f"corrected:{day.isoformat()}"


def marker_number(run_id: str) -> int:
    """Number that stands for a run in a marker: 60 bits of the digest that ends its name."""
    return int(run_id.rsplit("-", 1)[-1][:15], 16)


def conform(frame: pl.DataFrame, table: Table, extra: Iterable[str] = ()) -> pl.DataFrame:
    """The table's columns in order and type, absent ones null, then `extra` as they are."""
    empty = pl.from_arrow(table.schema.empty_table())
    assert isinstance(empty, pl.DataFrame)
    columns = [
        (pl.col(name) if name in frame.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in empty.schema.items()
    ]
    return frame.select(*columns, *extra)


class _Snapshot(DeltaTable):
    """A table whose files are named as they are called: the library escapes spaces and accents."""

    def file_uris(self, *args: Any, **kwargs: Any) -> list[str]:
        """Full paths of the data files; polars opens these."""
        root = self.table_uri.removeprefix("file://")
        found = super().file_uris(*args, **kwargs)
        return [unquote(root) + path.removeprefix(root) for path in found]


def _refuse_unreadable(root: str) -> None:
    """Raise UserError: the libraries would panic, write elsewhere or read the path as a pattern."""
    path = root if files.is_remote(root) else str(Path(root).resolve())
    if wrong := re.search(r"[#?*%\[\]{}^|\\=\x00-\x1f\x7f]", path):
        raise UserError(
            f"lake.path: {path!r} holds {wrong.group()!r}, so that its tables could not be read: "
            "name a path without # ? * % [ ] { } ^ | \\ = (spaces and accents are fine)"
        )


def _add_actions(snapshot: DeltaTable) -> pl.DataFrame:
    frame = pl.DataFrame(snapshot.get_add_actions(flatten=True))
    assert isinstance(frame, pl.DataFrame)
    return frame


def _storage_options(root: str) -> dict[str, str] | None:
    if not root.startswith("s3://"):
        return None
    options = {"aws_conditional_put": "etag"}
    if os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://"):
        options["aws_allow_http"] = "true"
    return options
