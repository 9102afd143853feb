"""`catalog.duckdb`: views over the explicit files of one snapshot of each table; swapped whole.

The same views are written as `catalog.sql`. A reader that holds the old file keeps the old answers.
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa

from pipeline.progress import logger
from pipeline.reasons import REASONS
from pipeline.schemas import CLEAN_INTERACTIONS, SCORED_INTERACTIONS, TABLES, Table
from pipeline.storage import files, staging
from pipeline.storage.lake import Lake
from pipeline.storage.sql import identifier, literal, render, statements

DUCKDB_FILE, SQL_FILE = "catalog.duckdb", "catalog.sql"
# DuckDB 1.4 and later open what is written in this format.
STORAGE_VERSION = "v1.0.0"
# Where others keep publishing, whoever publishes last builds last.
BUILDS = 10

_DUCKDB_TYPES = {
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE",
    pa.string(): "VARCHAR",
    pa.date32(): "DATE",
    pa.binary(): "BLOB",
    pa.timestamp("us", tz="UTC"): "TIMESTAMP",
    pa.list_(pa.float32()): "FLOAT[]",
}


@dataclass(frozen=True)
class Snapshot:
    """One readable state of the lake: the version and the data files of each table."""

    versions: dict[str, int]
    files: dict[str, list[str]]


def date_marker(day: date) -> str:
    """Key of the marker that says which run last published a date."""
    return f"date:{day.isoformat()}"


def snapshot(lake: Lake) -> Snapshot:
    """The newest state in which `scored_interactions` and `clean_interactions` agree on each date.

    A publication commits the scored rows first and the clean rows second. A date caught between
    the two (a run in progress, or one that was killed) is read as it was before.
    """
    # Clean first: whatever is in that snapshot, the scored table then has too, or newer.
    ordered = [CLEAN_INTERACTIONS, *(t for t in TABLES if t != CLEAN_INTERACTIONS)]
    versions = {table.name: lake.version(table) for table in ordered}
    found = {table.name: lake.partition_files(table, versions[table.name]) for table in ordered}
    scored = found[SCORED_INTERACTIONS.name]
    for day in staging.days(lake):
        clean_run = lake.marker(
            CLEAN_INTERACTIONS, date_marker(day), versions["clean_interactions"]
        )
        version = _version_with(lake, day, clean_run, versions[SCORED_INTERACTIONS.name])
        if version != versions[SCORED_INTERACTIONS.name]:
            scored.pop(day, None)
            earlier = lake.partition_files(SCORED_INTERACTIONS, version) if clean_run else {}
            scored |= {day: earlier[day]} if day in earlier else {}
    flat = {name: [f for day in sorted(by, key=str) for f in by[day]] for name, by in found.items()}
    return Snapshot(versions, flat)


def build(lake: Lake, folder: str = "") -> Path | None:
    """Write `catalog.sql` and `catalog.duckdb` into `folder` (default: the lake's root).

    For a lake on S3 without a local `folder`, only `catalog.sql` is written, beside the tables.

    Returns
    -------
    The DuckDB file, or None where only the SQL was written.
    """
    folder = folder or lake.root
    for _ in range(BUILDS):
        state = snapshot(lake)
        script = list(view_statements(lake, state))
        files.write_bytes(files.join(folder, SQL_FILE), ";\n\n".join([*script, ""]).encode())
        target = None if files.is_remote(folder) else _swap(Path(folder), script)
        # Another run may have published meanwhile and swapped first: the newest state must win.
        if {t.name: lake.version(t) for t in TABLES} == state.versions:
            break
    logger.info("catalogue: %s", target or files.join(folder, SQL_FILE))
    return target


def view_statements(lake: Lake, state: Snapshot) -> Iterable[str]:
    """`CREATE VIEW` and `COMMENT ON` statements of the tables, then those of `sql/views/`."""
    for table in TABLES:
        yield from _table_view(lake, table, state.files[table.name])
    pairs = ", ".join(f"({literal(code)}, {literal(words)})" for code, words in REASONS.items())
    yield render(statements("templates")["reasons"], pairs=pairs)
    yield "COMMENT ON VIEW reasons IS 'One row is a reason code with its words.'"
    for text in statements("views").values():
        yield from (part.strip() for part in text.split(";\n") if part.strip())


def select_files(table: Table, paths: list[str], extra: Iterable[str] = ()) -> str:
    """A SELECT of the table's columns over exactly these data files (none: an empty result)."""
    types = {field.name: _DUCKDB_TYPES[field.type] for field in table.schema}
    types |= dict.fromkeys(extra, "VARCHAR")
    templates = statements("templates")
    if not paths:
        empty = ", ".join(f"CAST(NULL AS {t}) AS {identifier(n)}" for n, t in types.items())
        return render(templates["no_files"], columns=empty)
    columns = ", ".join(_select_column(name, dtype) for name, dtype in types.items())
    options = ", union_by_name = true" if list(extra) else ""
    if table.partition_by:
        dtype = types[table.partition_by]
        options += f", hive_partitioning = true, hive_types = {{'{table.partition_by}': {dtype}}}"
    listed = ", ".join(literal(path) for path in paths)
    return render(templates["files"], columns=columns, files=listed, options=options)


def _select_column(name: str, dtype: str) -> str:
    quoted = identifier(name)
    # As plain UTC: TIMESTAMPTZ would be shown in each reader's own time zone.
    return f"make_timestamp(epoch_us({quoted})) AS {quoted}" if dtype == "TIMESTAMP" else quoted


def _table_view(lake: Lake, table: Table, paths: list[str]) -> Iterable[str]:
    name = identifier(table.name)
    present = lake.open(table).schema().to_arrow().names
    extra = [column for column in present if column not in table.columns]
    yield f"CREATE OR REPLACE VIEW {name} AS {select_files(table, paths, extra)}"
    yield f"COMMENT ON VIEW {name} IS {literal(f'One row is {table.one_row_is}.')}"
    for field in table.schema:
        described = (field.metadata or {}).get(b"description", b"").decode()
        if described:
            yield f"COMMENT ON COLUMN {name}.{identifier(field.name)} IS {literal(described)}"


def _version_with(lake: Lake, day: date, run: int | None, newest: int) -> int:
    """Newest version of the scored table in which `run` is the last publisher of `day`."""
    for version in range(newest, -1, -1):
        if lake.marker(SCORED_INTERACTIONS, date_marker(day), version) == run:
            return version
    return 0


def _swap(folder: Path, script: list[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / DUCKDB_FILE
    temporary = folder / f".{DUCKDB_FILE}.{uuid.uuid4().hex}"
    attach = "ATTACH $file AS catalog (STORAGE_VERSION $version)"
    try:
        with duckdb.connect() as connection:
            connection.execute(
                render(attach, file=literal(str(temporary)), version=literal(STORAGE_VERSION))
            )
            connection.execute("USE catalog")
            for statement in script:
                connection.execute(statement)
            connection.execute("USE memory")
            connection.execute("DETACH catalog")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target
