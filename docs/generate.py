"""Write the pages that are made from the code: `make docs`. A test compares them with it.

docs/data-dictionary.md    from pipeline/schemas.py and the comments of sql/views/
docs/configuration.md      from pipeline/config.py: a setting's description is the comment beside it
"""

import ast
import io
import tempfile
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from pipeline import config as settings
from pipeline.config import Config
from pipeline.schemas import TABLES
from pipeline.storage import catalog
from pipeline.storage.lake import Lake
from pipeline.storage.sql import statements

DOCS = Path(__file__).parent
MADE = "<!-- Made by `make docs`; change the code, not this page. -->"

DICTIONARY = f"""{MADE}

# Data dictionary

Every view of `catalog.duckdb` and `catalog.sql`; the first {len(TABLES)} are tables of the lake
(Delta), too. In DuckDB, `FROM duckdb_columns() WHERE table_name = 'removed_interactions'` shows the
same comments. Times are UTC, shares and probabilities from 0 to 1.
"""

CONFIGURATION = f"""{MADE}

# Configuration

`iadsr.toml`, section by section; a file needs only what differs from the defaults. Each setting can
be set by the environment, too: `IADSR_DECISION__FALSE_DROP_BUDGET=0.02` is `[decision]
false_drop_budget`. Relative paths are taken from the file's own folder. `iadsr config show` prints
every effective value and where it came from. An unknown key is an error.
"""


def data_dictionary() -> str:
    """The page of tables and views, from the comments in a catalogue of an empty lake."""
    query = (
        "SELECT table_name, column_name, data_type, comment FROM duckdb_columns() "
        "WHERE NOT internal ORDER BY table_name, column_index"
    )
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(folder)
        with catalog.connect(lake, catalog.snapshot(lake)) as connection:
            columns = connection.execute(query).fetchall()
            contracts = dict(
                connection.execute(
                    "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal"
                ).fetchall()
            )
    partition = {
        t.name: f" A Delta table, by `{t.partition_by}`." for t in TABLES if t.partition_by
    }
    plain = {table.name: " A Delta table." for table in TABLES}
    parts = [DICTIONARY]
    for name in [*plain, "reasons", "signals", *statements("views")]:
        rows = [row[1:] for row in columns if row[0] == name]
        parts.append(f"## {name}\n\n{contracts[name]}{partition.get(name, plain.get(name, ''))}\n")
        parts.append(
            _table(("column", "type", "what it is"), [(f"`{c}`", t, d) for c, t, d in rows])
        )
    return "\n".join(parts)


def configuration() -> str:
    """The page of settings, from the classes of `pipeline/config.py` and their comments."""
    parts = [CONFIGURATION]
    for name, section in _sections(Config, ""):
        said = " ".join((section.__doc__ or "").split())
        rows = list(_settings(section))
        parts.append(f"## [{name}]\n\n{said}\n")
        parts.append(_table(("setting", "default", "values", "what it does"), rows))
    return "\n".join(parts)


def undescribed() -> list[str]:
    """Settings without a comment, as section.setting."""
    return [
        f"{name}.{row[0].strip('`')}"
        for name, section in _sections(Config, "")
        for row in _settings(section)
        if not row[-1]
    ]


def _sections(section: type[BaseModel], prefix: str) -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in section.model_fields.items():
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                full = f"{prefix}{name}" + ("" if part is field.annotation else ".NAME")
                yield full, part
                yield from _sections(part, f"{full}.")


def _settings(section: type[BaseModel]) -> Iterator[tuple[str, str, str, str]]:
    schema = section.model_json_schema()
    comments = _comments()
    for name, field in section.model_fields.items():
        values = schema["properties"][name]
        if "$ref" in values:
            continue  # a section of its own
        said = next((c for k in section.__mro__ if (c := comments.get((k.__name__, name)))), "")
        default = "" if field.is_required() else f"`{_toml(values.get('default'))}`"
        yield f"`{name}`", default or "needed", _values(values), said


def _values(schema: dict[str, Any]) -> str:
    """Type and bounds of a setting in words."""
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        return f"list of {_values(schema['items'])}"
    if schema.get("type") == "object":
        return "table of text" if "additionalProperties" in schema else "table"
    words = {"integer": "whole number", "string": "text", "boolean": "true, false"}
    kind = "date" if schema.get("format") == "date" else words.get(schema["type"], schema["type"])
    bounds = [
        f"{sign} {schema[key]:g}"
        for key, sign in (
            ("exclusiveMinimum", ">"),
            ("minimum", "≥"),
            ("exclusiveMaximum", "<"),
            ("maximum", "≤"),
        )
        if key in schema
    ]
    return ", ".join([kind, *bounds])


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(v) for v in value)}]"
    return f'"{value}"' if isinstance(value, str) else "{}" if value == {} else f"{value}"


def _comments() -> dict[tuple[str, str], str]:
    """(Class, field) -> the comment beside the field."""
    source = Path(settings.__file__).read_text()
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    said = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
    found = {}
    for owner in ast.walk(ast.parse(source)):
        if isinstance(owner, ast.ClassDef):
            for field in owner.body:
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    lines = range(field.lineno, (field.end_lineno or field.lineno) + 1)
                    beside = [said[line] for line in lines if line in said]
                    found[owner.name, field.target.id] = " ".join(beside)
    return found


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    cells = (" | ".join(cell.replace("|", "\\|") for cell in line) for line in lines)
    return "".join(f"| {line} |\n" for line in cells)


PAGES = {"data-dictionary.md": data_dictionary, "configuration.md": configuration}

if __name__ == "__main__":
    for page, make in PAGES.items():
        (DOCS / page).write_text(make())
