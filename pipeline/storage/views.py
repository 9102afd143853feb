"""The SQL of the views over one snapshot of each table: what a catalogue is made of."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
from pyarrow import dataset

from pipeline.reasons import REASONS
from pipeline.schemas import INTERESTS, SIGNAL_DESCRIPTIONS, TABLES, Table
from pipeline.storage import files
from pipeline.storage.lake import Lake
from pipeline.storage.sql import identifier, literal, render, statements

# How a view reads its table's files, see `table_views`.
Reads = Literal["paths", "variable", "datasets"]

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


def view_statements(lake: Lake, state: Snapshot, reads: Reads = "paths") -> Iterator[str]:
    """`CREATE VIEW` and `COMMENT ON` statements of the tables, then those of `sql/views/`."""
    yield from table_views(lake, state, reads)
    yield from mart_views()


def table_views(lake: Lake, state: Snapshot, reads: Reads, schema: str = "main") -> Iterator[str]:
    """A view of each table, with comments.

    It `reads` its files by their full paths, by paths below the variable `lake`, or as the dataset
    that is registered as `dataset_name`.
    """
    for table in TABLES:
        yield from _table_view(lake, table, state, reads, schema)


def mart_views() -> Iterator[str]:
    """The words of codes, then the views of `sql/views/`, with comments."""
    told = {"reason": "reason code of a decision", "words": "what it means"}
    yield from _words("reasons", told, REASONS.items())
    told = {"signal": "signal of noise", "words": "what it means"}
    told["compared_with"] = "what the item disagrees with, where the signal speaks for noise"
    compared = [(name, words, INTERESTS[name]) for name, words in SIGNAL_DESCRIPTIONS.items()]
    yield from _words("signals", told, compared)
    for text in statements("views").values():
        yield from (part.strip() for part in text.split(";\n") if part.strip())


def dataset_name(schema: str, table: Table) -> str:
    """Under which name a table's dataset is registered."""
    return f"{schema} {table.name} files"


def _words(view: str, columns: dict[str, str], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """A view of `rows`, one of each code. `columns` (name -> comment) begins with the code."""
    values = ", ".join(f"({', '.join(map(literal, row))})" for row in rows)
    names, what = ", ".join(columns), next(iter(columns.values()))
    yield render(statements("templates")["words"], name=view, rows=values, columns=names)
    yield f"COMMENT ON VIEW {view} IS {literal(f'One row is a {what}, with its words.')}"
    for name, comment in columns.items():
        yield f"COMMENT ON COLUMN {view}.{name} IS {literal(comment)}"


def _table_view(
    lake: Lake, table: Table, state: Snapshot, reads: Reads, schema: str
) -> Iterator[str]:
    name = identifier(table.name) if schema == "main" else f"{schema}.{identifier(table.name)}"
    present = _present(lake, table, state)
    paths = [literal(path) for path in state.files[table.name]]
    if reads == "variable":
        root = literal(lake.root.rstrip("/"))[:-1]
        paths = [f"getvariable('lake') || '{path.removeprefix(root)}" for path in paths]
    if reads == "datasets":
        source = identifier(dataset_name(schema, table))
    else:
        source = f"read_parquet([{', '.join(paths)}]{_read_options(table, present)})"
    yield f"CREATE OR REPLACE VIEW {name} AS {_select(table, present, source if paths else None)}"
    yield f"COMMENT ON VIEW {name} IS {literal(f'One row is {table.one_row_is}.')}"
    for column, text in _descriptions(table, present).items():
        yield f"COMMENT ON COLUMN {name}.{identifier(column)} IS {literal(text)}"


def _present(lake: Lake, table: Table, state: Snapshot) -> list[str]:
    """Columns of the table in this state: further ones of the source, not yet those of today."""
    return list(lake.open(table, state.versions[table.name]).schema().to_arrow().names)


def _descriptions(table: Table, present: list[str]) -> dict[str, str]:
    extra = dict.fromkeys(present, "a further column of the source, as text")
    return extra | {f.name: f.metadata[b"description"].decode() for f in table.schema}


def _select(table: Table, present: list[str], source: str | None) -> str:
    """A SELECT of the table's columns; null is what the state does not have yet (None: nothing)."""
    types = {field.name: _DUCKDB_TYPES[field.type] for field in table.schema}
    types |= {name: "VARCHAR" for name in present if name not in types}
    templates = statements("templates")
    if source is None:
        empty = ", ".join(_null(name, dtype) for name, dtype in types.items())
        return render(templates["no_files"], columns=empty)
    columns = ", ".join(
        _select_column(name, dtype) if name in present else _null(name, dtype)
        for name, dtype in types.items()
    )
    return render(templates["files"], columns=columns, source=source)


def _read_options(table: Table, present: list[str]) -> str:
    # Columns that were added later stand at the end: older files do not have them.
    options = "" if present == table.columns else ", union_by_name = true"
    if table.partition_by:
        dtype = _DUCKDB_TYPES[table.schema.field(table.partition_by).type]
        options += f", hive_partitioning = true, hive_types = {{'{table.partition_by}': {dtype}}}"
    return options


def _null(name: str, dtype: str) -> str:
    return f"CAST(NULL AS {dtype}) AS {identifier(name)}"


def _select_column(name: str, dtype: str) -> str:
    quoted = identifier(name)
    # As plain UTC: TIMESTAMPTZ would be shown in each reader's own time zone.
    return f"make_timestamp(epoch_us({quoted})) AS {quoted}" if dtype == "TIMESTAMP" else quoted


def table_dataset(lake: Lake, table: Table, state: Snapshot) -> dataset.Dataset:
    """The table's rows in one state, to register as `dataset_name`."""
    paths = state.files[table.name]
    extra = [n for n in _present(lake, table, state) if n not in table.columns]
    schema = pa.schema([*table.schema, *(pa.field(name, pa.string()) for name in extra)])
    if not paths:
        return dataset.dataset(schema.empty_table())
    store, base = files.filesystem(lake.path(table.name))
    parted = [schema.field(table.partition_by)] if table.partition_by else []
    return dataset.dataset(
        [files.filesystem(path)[1] for path in paths],
        schema=schema,
        format="parquet",
        filesystem=store,
        partitioning=dataset.partitioning(pa.schema(parted), flavor="hive"),
        partition_base_dir=base,
    )
