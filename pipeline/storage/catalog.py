"""`catalog.duckdb`: views over the explicit files of one snapshot of each table; swapped whole.

The same views are written as `catalog.sql`, below a variable that says where the lake is. A reader
that holds the old file keeps the old answers.
"""

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
from pyarrow import dataset

from pipeline import columns as col
from pipeline.errors import StoreError, causes
from pipeline.progress import logger
from pipeline.schemas import CLEAN_INTERACTIONS, SCORED_INTERACTIONS, TABLES
from pipeline.storage import files, staging
from pipeline.storage.lake import Lake
from pipeline.storage.sql import literal, render, statements
from pipeline.storage.views import (
    Reads,
    Snapshot,
    dataset_name,
    mart_views,
    table_dataset,
    table_views,
    view_statements,
)

DUCKDB_FILE = "catalog.duckdb"
# DuckDB 1.4 and later open what is written in this format.
STORAGE_VERSION = "v1.0.0"
# Where others keep publishing, whoever publishes last builds last.
BUILDS = 10


def date_marker(day: date) -> str:
    """Key of the marker that says which run last published a date."""
    return f"date:{day.isoformat()}"


def snapshot(lake: Lake) -> Snapshot:
    """The newest state in which `scored_interactions` and `clean_interactions` agree on each date.

    A publication commits the scored rows first and the clean rows second. A date caught between
    the two (a run in progress, or one that was killed) is read as it was before.
    """
    return state_at(lake, current_versions(lake), staging.days(lake))


def current_versions(lake: Lake) -> dict[str, int]:
    """Table -> its newest snapshot, taken in an order that `state_at` can make sense of."""
    # Clean first: whatever is in that snapshot, the scored table then has too, or newer.
    ordered = [CLEAN_INTERACTIONS, *(t for t in TABLES if t != CLEAN_INTERACTIONS)]
    return {table.name: lake.version(table) for table in ordered}


def state_at(lake: Lake, versions: dict[str, int], days: Iterable[date]) -> Snapshot:
    """The state of these versions; `days` are those that can be between their two commits."""
    found = {table.name: lake.partition_files(table, versions[table.name]) for table in TABLES}
    clean_version, newest = (versions[t.name] for t in (CLEAN_INTERACTIONS, SCORED_INTERACTIONS))
    scored = found[SCORED_INTERACTIONS.name]
    for day in days:
        clean_run = lake.marker(CLEAN_INTERACTIONS, date_marker(day), clean_version)
        version = _version_with(lake, day, clean_run, newest)
        if version != newest:
            scored.pop(day, None)
            earlier = lake.partition_files(SCORED_INTERACTIONS, version) if clean_run else {}
            scored |= {day: earlier[day]} if day in earlier else {}
    flat = {name: [f for day in sorted(by, key=str) for f in by[day]] for name, by in found.items()}
    return Snapshot(versions, flat)


def between_commits(lake: Lake) -> set[date]:
    """Dates published in one of the two tables only: the catalogue knows them by their staging."""
    return {
        day
        for day in staging.days(lake)
        if lake.marker(SCORED_INTERACTIONS, date_marker(day))
        != lake.marker(CLEAN_INTERACTIONS, date_marker(day))
    }


def build(lake: Lake, folder: str = "") -> str:
    """Write the newest state's `catalog.sql` and `catalog.duckdb`.

    They go into `folder`, by default the lake's root.

    Returns
    -------
    Path of the DuckDB file; of the SQL for a lake on S3 without a local `folder`.
    """
    for _ in range(BUILDS):
        state = snapshot(lake)
        target = write(lake, state, folder)
        # Another run may have published meanwhile and swapped first: the newest state must win.
        if {t.name: lake.version(t) for t in TABLES} == state.versions:
            break
    logger.info("catalogue: %s", target)
    return target


def write(lake: Lake, state: Snapshot, folder: str = "", name: str = "catalog") -> str:
    """Write `<name>.sql` of one state and, where `folder` is local, `<name>.duckdb`: its path."""
    folder = folder or lake.root
    root = render(statements("templates")["root"], root=literal(lake.root))
    script = [root, *view_statements(lake, state, "variable")]
    target = files.join(folder, f"{name}.sql")
    files.write_bytes(target, ";\n\n".join([*script, ""]).encode())
    if files.is_remote(folder):
        return target
    return str(_swap(Path(folder) / f"{name}.duckdb", view_statements(lake, state)))


@contextmanager
def connect(
    lake: Lake, state: Snapshot, before: Snapshot | None = None, user: str | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection in memory with all views over one state; needs no extension on S3, either.

    With `before`, the schema of that name holds the tables of an earlier state. Where only one
    `user` will be asked for, say so: on S3 the rows of others are then left out by Arrow.
    """
    remote = files.is_remote(lake.root)
    reads: Reads = "datasets" if remote else "paths"
    states = {"main": state} | ({"before": before} if before else {})
    with _reading(), duckdb.connect() as connection:
        # Arrow's comparisons refuse the strings that DuckDB would push down to them.
        connection.execute(f"SET disabled_optimizers = '{'filter_pushdown' if remote else ''}'")
        for schema, its_state in states.items():
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
            for table in TABLES if remote else ():
                rows = table_dataset(lake, table, its_state)
                if user is not None and col.USER_ID in table.columns:
                    # The cast, for files whose strings are views: they have no comparison.
                    whose = dataset.field(col.USER_ID).cast(pa.string())
                    rows = rows.filter(whose == user)
                connection.register(dataset_name(schema, table), rows)
            for statement in table_views(lake, its_state, reads, schema):
                connection.execute(statement)
        for statement in mart_views():
            connection.execute(statement)
        yield connection


@contextmanager
def _reading() -> Iterator[None]:
    """Turn what DuckDB says of a file that is gone, or of a full disk, into one line."""
    try:
        yield
    except duckdb.IOException as error:
        raise StoreError(
            f"{causes(error)} (a file that is gone comes back from a backup only; else check "
            "lake.path, its permissions and free space)"
        ) from None


def _version_with(lake: Lake, day: date, run: int | None, newest: int) -> int:
    """Newest version of the scored table in which `run` is the last publisher of `day`."""
    for version in range(newest, -1, -1):
        if lake.marker(SCORED_INTERACTIONS, date_marker(day), version) == run:
            return version
    return 0


def _swap(target: Path, script: Iterable[str]) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    attach = "ATTACH $file AS catalog (STORAGE_VERSION $version)"
    try:
        with _reading(), duckdb.connect() as connection:
            connection.execute(
                render(attach, file=literal(str(temporary)), version=literal(STORAGE_VERSION))
            )
            connection.execute("USE catalog")
            connection.execute("BEGIN")  # hundreds of comments: one by one each is flushed to disk
            for statement in script:
                connection.execute(statement)
            connection.execute("COMMIT")
            connection.execute("USE memory")
            connection.execute("DETACH catalog")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target
