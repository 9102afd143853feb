"""Finding the SQL that the product runs: its statements are files below `sql/`."""

from pathlib import Path
from string import Template
from typing import Any

import duckdb

_PACKAGE = Path(__file__).resolve().parent.parent
# A wheel carries sql/ inside the package; a checkout has it beside the package.
SQL = next((p for p in (_PACKAGE / "sql", _PACKAGE.parent / "sql") if p.is_dir()), _PACKAGE / "sql")


def statements(folder: str) -> dict[str, str]:
    """File stem -> SQL text of every `sql/<folder>/*.sql`, in name order."""
    return {file.stem: file.read_text().strip() for file in sorted((SQL / folder).glob("*.sql"))}


def ask(
    connection: duckdb.DuckDBPyConnection, query: str, **variables: Any
) -> duckdb.DuckDBPyRelation:
    """The answer of a query of `sql/queries/`; `variables` are its, None where not given."""
    return answer(connection, statements("queries")[query], variables)


def answer(
    connection: duckdb.DuckDBPyConnection, query: str, variables: dict[str, Any]
) -> duckdb.DuckDBPyRelation:
    """The answer of a query, once its `variables` are set."""
    for name, value in variables.items():
        connection.execute(f"SET VARIABLE {identifier(name)} = ?", [value])
    return connection.sql(query)


def render(text: str, **values: str) -> str:
    """Fill `$name` marks. Values must already be SQL: made by `literal`, `identifier` or code."""
    return Template(text).substitute(values)


def literal(value: str | None) -> str:
    """A SQL string literal, quotes doubled; NULL for None."""
    return "NULL" if value is None else "'" + value.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
