"""`catalog.duckdb`: views over the explicit files of one snapshot of each table; swapped whole.

The same views are written as `catalog.sql`, below a variable that says where the lake is. A reader
that holds the old file keeps the old answers.
"""

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa

from pipeline.progress import logger
from pipeline.reasons import REASONS
from pipeline.schemas import (
    CLEAN_INTERACTIONS,
    SCORED_INTERACTIONS,
    SIGNAL_DESCRIPTIONS,
    TABLES,
    Table,
)
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


def build(lake: Lake, folder: str = "") -> Path | None:
    """Write the newest state's `catalog.sql` and `catalog.duckdb`.

    They go into `folder`, by default the lake's root.

    Returns
    -------
    The DuckDB file, or None where only the SQL was written: a lake on S3 without a local `folder`.
    """
    for _ in range(BUILDS):
        state = snapshot(lake)
        target = write(lake, state, folder)
        # Another run may have published meanwhile and swapped first: the newest state must win.
        if {t.name: lake.version(t) for t in TABLES} == state.versions:
            break
    logger.info("catalogue: %s", target or files.join(folder or lake.root, SQL_FILE))
    return target


def write(lake: Lake, state: Snapshot, folder: str = "", name: str = "catalog") -> Path | None:
    """Write `<name>.sql` and, where `folder` is local, `<name>.duckdb` of one state."""
    folder = folder or lake.root
    root = render(statements("templates")["root"], root=literal(lake.root))
    script = [root, *view_statements(lake, state, portable=True)]
    files.write_bytes(files.join(folder, f"{name}.sql"), ";\n\n".join([*script, ""]).encode())
    if files.is_remote(folder):
        return None
    return _swap(Path(folder) / f"{name}.duckdb", view_statements(lake, state))


def view_statements(lake: Lake, state: Snapshot, *, portable: bool = False) -> Iterator[str]:
    """`CREATE VIEW` and `COMMENT ON` statements of the tables, then those of `sql/views/`.

    `portable`: files are looked for below the variable `lake`, not below the lake's own root.
    """
    for table in TABLES:
        yield from _table_view(lake, table, state, portable)
    yield from _words("reasons", "reason", REASONS, "reason code of a decision")
    yield from _words("signals", "signal", SIGNAL_DESCRIPTIONS, "signal of noise")
    for text in statements("views").values():
        yield from (part.strip() for part in text.split(";\n") if part.strip())


def _words(view: str, code: str, words: dict[str, str], what: str) -> Iterator[str]:
    pairs = ", ".join(f"({literal(name)}, {literal(text)})" for name, text in words.items())
    yield render(statements("templates")["words"], name=view, pairs=pairs, code=code)
    yield f"COMMENT ON VIEW {view} IS {literal(f'One row is a {what}, with its words.')}"
    yield f"COMMENT ON COLUMN {view}.{code} IS {literal(what)}"
    yield f"COMMENT ON COLUMN {view}.words IS {literal('what it means')}"


def _table_view(lake: Lake, table: Table, state: Snapshot, portable: bool) -> Iterator[str]:
    name, version = identifier(table.name), state.versions[table.name]
    present = lake.open(table, version).schema().to_arrow().names
    paths = [literal(path) for path in state.files[table.name]]
    if portable:
        below = literal(lake.root.rstrip("/"))[:-1]
        paths = [f"getvariable('lake') || '{path.removeprefix(below)}" for path in paths]
    yield f"CREATE OR REPLACE VIEW {name} AS {_select_files(table, paths, present)}"
    yield f"COMMENT ON VIEW {name} IS {literal(f'One row is {table.one_row_is}.')}"
    for column, text in _descriptions(table, present).items():
        yield f"COMMENT ON COLUMN {name}.{identifier(column)} IS {literal(text)}"


def _descriptions(table: Table, present: list[str]) -> dict[str, str]:
    extra = dict.fromkeys(present, "a further column of the source, as text")
    return extra | {f.name: f.metadata[b"description"].decode() for f in table.schema}


def _select_files(table: Table, paths: list[str], present: list[str]) -> str:
    """A SELECT of the table's columns over exactly these data files (none: an empty result).

    `paths` are SQL expressions. A column that the snapshot does not have yet is null.
    """
    types = {field.name: _DUCKDB_TYPES[field.type] for field in table.schema}
    types |= {name: "VARCHAR" for name in present if name not in types}
    templates = statements("templates")
    if not paths:
        empty = ", ".join(_null(name, dtype) for name, dtype in types.items())
        return render(templates["no_files"], columns=empty)
    columns = ", ".join(
        _select_column(name, dtype) if name in present else _null(name, dtype)
        for name, dtype in types.items()
    )
    # Columns that were added later stand at the end: older files do not have them.
    options = "" if present == table.columns else ", union_by_name = true"
    if table.partition_by:
        dtype = types[table.partition_by]
        options += f", hive_partitioning = true, hive_types = {{'{table.partition_by}': {dtype}}}"
    return render(templates["files"], columns=columns, files=", ".join(paths), options=options)


def _null(name: str, dtype: str) -> str:
    return f"CAST(NULL AS {dtype}) AS {identifier(name)}"


def _select_column(name: str, dtype: str) -> str:
    quoted = identifier(name)
    # As plain UTC: TIMESTAMPTZ would be shown in each reader's own time zone.
    return f"make_timestamp(epoch_us({quoted})) AS {quoted}" if dtype == "TIMESTAMP" else quoted


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
        with duckdb.connect() as connection:
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
